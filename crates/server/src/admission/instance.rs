//! Instances: sizes from their type, and references that must exist.

use ::identity::Principal;
use client::Verb;
use model::compute::{
    Image, Instance, InstanceSpec, InstanceType, Isolation, KeyPair, PayloadKind, Visibility,
};
use model::{ApiError, Bytes, FieldErrors, Resources};

use crate::server::Server;

/// The size of a virtual machine whose user named none.
const DEFAULT_TYPE: &str = "small";
/// The project whose public images everyone may use.
pub(crate) const SYSTEM_PROJECT: &str = "system";

impl Server {
    pub(super) async fn complete_instance(
        &self,
        instance: &mut Instance,
        old: Option<&Instance>,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        let type_changed = old.is_some_and(|old| old.spec.instance_type != instance.spec.instance_type);
        instance.name_volumes();
        if type_changed && old.is_some_and(|old| old.spec.resources == instance.spec.resources) {
            instance.spec.resources = Resources::ZERO;
        }
        self.complete_resources(&mut instance.spec, "spec", errors).await?;
        if old.is_none() {
            self.check_images_and_keys(instance, errors).await?;
        }
        Ok(())
    }

    /// Fills in the resources from the instance type, where the user gave none.
    pub(super) async fn complete_resources(
        &self,
        spec: &mut InstanceSpec,
        field: &str,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        if spec.resources != Resources::ZERO {
            return Ok(());
        }
        let is_vm = matches!(spec.isolation, Isolation::Vm | Isolation::MicroVm);
        if spec.instance_type.is_empty() && is_vm {
            spec.instance_type = DEFAULT_TYPE.into();
        }
        if spec.instance_type.is_empty() {
            return Ok(());
        }
        match self.read::<InstanceType>("", &spec.instance_type).await? {
            // The disk of one that boots from a volume is that volume, which is counted by itself.
            Some(found) if spec.boots_from_volume() => {
                spec.resources = Resources { disk: Bytes(0), ..found.spec.resources };
            }
            Some(found) => spec.resources = found.spec.resources,
            None => errors.push(
                format!("{field}.type"),
                format!(
                    "{:?} is not an instance type; `corten get instancetypes` lists them",
                    spec.instance_type
                ),
            ),
        }
        Ok(())
    }

    async fn check_images_and_keys(
        &self,
        instance: &Instance,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        let project = &instance.metadata.namespace;
        let wanted = instance.spec.payload.kind();
        for name in instance.spec.payload.images() {
            let field = format!("spec.payload.{wanted}.image");
            match self.find_image(project, name).await? {
                None => errors.push(
                    field,
                    format!(
                        "there is no image {name:?} in project {project:?}; `corten get images` lists them"
                    ),
                ),
                Some(image) => {
                    let makes = image.spec.format.payload();
                    let fits = makes == wanted
                        || (makes == PayloadKind::Containers && wanted == PayloadKind::Rootfs);
                    errors.require(
                        fits,
                        &field,
                        &format!(
                            "image {name:?} has format {} and makes a payload of {makes}",
                            image.spec.format.as_str()
                        ),
                    );
                }
            }
        }
        let key = &instance.spec.key_pair;
        if !key.is_empty() && self.read::<KeyPair>(project, key).await?.is_none() {
            errors.push(
                "spec.keyPair",
                format!(
                    "there is no key pair {key:?} in project {project:?}; `corten get keypairs` lists them"
                ),
            );
        }
        Ok(())
    }

    /// What an image is made of is there, and is the caller's to read.
    pub(super) async fn check_image_source(
        &self,
        caller: &Principal,
        image: &Image,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        let (project, source) = (&image.metadata.namespace, &image.spec.source);
        if !source.image.is_empty() {
            match self.find_image(project, &source.image).await? {
                None => errors.push(
                    "spec.source.image",
                    format!(
                        "there is no image {:?} in project {project:?}; `corten get images` lists them",
                        source.image
                    ),
                ),
                Some(of) => errors.require(
                    of.spec.format == image.spec.format,
                    "spec.format",
                    &format!("must be {}, as that of the image it is a copy of", of.spec.format.as_str()),
                ),
            }
        }
        if source.bucket.is_empty() {
            return Ok(());
        }
        self.require_objects(caller, Verb::Get, project, &source.bucket)
    }

    /// An image by name: the project's own, or a public one of the system.
    pub(crate) async fn find_image(&self, project: &str, name: &str) -> Result<Option<Image>, ApiError> {
        if let Some(image) = self.read::<Image>(project, name).await? {
            return Ok(Some(image));
        }
        let shared = self.read::<Image>(SYSTEM_PROJECT, name).await?;
        Ok(shared.filter(|image| image.spec.visibility == Visibility::Public))
    }
}
