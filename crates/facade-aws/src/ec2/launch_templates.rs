//! Launch templates: parameters of RunInstances, kept under a name in versions. What is asked for itself wins.

use std::collections::BTreeMap;

use model::compute::{LaunchTemplate, LaunchTemplateSpec, LaunchTemplateVersion};
use model::{Object, ObjectMeta};

use super::template_data;
use crate::actions::{Action, Answer, describe};
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::params::Params;
use crate::tags::{self, Tags};
use crate::xml::Xml;

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2(
        "CreateLaunchTemplate",
        &[
            "LaunchTemplateName",
            "VersionDescription",
            "LaunchTemplateData",
            "TagSpecification",
            "ClientToken",
        ],
        |c| Box::pin(create(c)),
    )
    .noting("Of what RunInstances takes."),
    Action::ec2(
        "CreateLaunchTemplateVersion",
        &[
            "LaunchTemplateId",
            "LaunchTemplateName",
            "SourceVersion",
            "VersionDescription",
            "LaunchTemplateData",
            "ClientToken",
        ],
        |c| Box::pin(create_version(c)),
    ),
    Action::ec2("DescribeLaunchTemplates", describe!["LaunchTemplateId", "LaunchTemplateName"], |c| {
        Box::pin(describe(c))
    }),
    Action::ec2(
        "DescribeLaunchTemplateVersions",
        describe![
            "LaunchTemplateId",
            "LaunchTemplateName",
            "LaunchTemplateVersion",
            "MinVersion",
            "MaxVersion"
        ],
        |c| Box::pin(versions(c)),
    ),
    Action::ec2(
        "ModifyLaunchTemplate",
        &["LaunchTemplateId", "LaunchTemplateName", "SetDefaultVersion", "ClientToken"],
        |c| Box::pin(modify(c)),
    ),
    Action::ec2("DeleteLaunchTemplate", &["LaunchTemplateId", "LaunchTemplateName"], |c| Box::pin(delete(c))),
    Action::ec2(
        "DeleteLaunchTemplateVersions",
        &["LaunchTemplateId", "LaunchTemplateName", "LaunchTemplateVersion"],
        |c| Box::pin(delete_versions(c)),
    ),
];

/// A template, and the number of its version that is meant.
pub(crate) async fn chosen(c: &Context, given: &Params) -> Result<(LaunchTemplate, u32), Failure> {
    let template = find(c, given.get("LaunchTemplateId"), given.get("LaunchTemplateName")).await?;
    let number = number(&template, given.get("Version").unwrap_or("$Default"))?;
    Ok((template, number))
}

/// The request of RunInstances with what its template says put in.
pub(crate) async fn merged(c: &Context) -> Result<Params, Failure> {
    let (template, number) = chosen(c, &c.params.below("LaunchTemplate")).await?;
    let version = template.spec.version(number).ok_or_else(|| no_version(&number.to_string()))?;
    let mut params = c.params.without("LaunchTemplate");
    // Policies are asked about the template as well, and what is made says of which it is.
    params.put("LaunchTemplate.LaunchTemplateId", &ids::id(&template));
    params.put("LaunchTemplate.Version", &number.to_string());
    for (name, value) in &version.parameters {
        let first = name.split('.').next().unwrap_or_default();
        // Cards of its own leave no room for what is said of the only one.
        let instead =
            matches!(first, "SecurityGroupId" | "SecurityGroup") && c.params.has("NetworkInterface");
        if !c.params.has(first) && !instead {
            params.put(name, value);
        }
    }
    Ok(params)
}

async fn find(c: &Context, id: Option<&str>, name: Option<&str>) -> Result<LaunchTemplate, Failure> {
    match (id, name) {
        (Some(id), None) => c.find::<LaunchTemplateSpec>(id).await,
        (None, Some(name)) => {
            let found = c.list::<LaunchTemplateSpec>().await?.into_iter().find(|t| t.spec.name == name);
            found.ok_or_else(|| no_name(name))
        }
        (Some(_), Some(_)) => Err(Failure::new(
            "InvalidParameterCombination",
            "LaunchTemplateId and LaunchTemplateName exclude each other",
        )),
        (None, None) => Err(Failure::missing("LaunchTemplateId")),
    }
}

async fn named(c: &Context) -> Result<LaunchTemplate, Failure> {
    find(c, c.params.get("LaunchTemplateId"), c.params.get("LaunchTemplateName")).await
}

fn no_name(name: &str) -> Failure {
    let name: String = name.chars().take(128).collect();
    let message = format!("The specified launch template, with template name {name}, does not exist.");
    Failure::new("InvalidLaunchTemplateName.NotFoundException", message)
}

fn no_version(version: &str) -> Failure {
    let version: String = version.chars().take(40).collect();
    let message = format!("Could not find the specified version {version} of the launch template.");
    Failure::new("InvalidLaunchTemplateId.VersionNotFound", message)
}

fn number(template: &LaunchTemplate, text: &str) -> Result<u32, Failure> {
    match text {
        "$Default" => Ok(template.spec.default_version),
        "$Latest" => Ok(template.spec.latest()),
        text => {
            let number = text.parse().map_err(|_| no_version(text))?;
            template.spec.version(number).map(|version| version.number).ok_or_else(|| no_version(text))
        }
    }
}

/// What the request says of instances, checked as far as it can be without starting one.
fn data(c: &Context) -> Result<BTreeMap<String, String>, Failure> {
    let given = c.params.below("LaunchTemplateData");
    if let Some(other) = given.unknown(template_data::DATA).next() {
        let message = format!("LaunchTemplateData.{other} is not supported in this cloud");
        return Err(Failure::unsupported(message));
    }
    Ok(given.into_values())
}

struct Shown {
    id: String,
    template: LaunchTemplate,
    tags: Tags,
}

impl Shown {
    fn of(template: LaunchTemplate) -> Self {
        Self { id: ids::id(&template), tags: tags::of(&template.metadata), template }
    }
}

impl Item for Shown {
    const FILTERS: &'static [&'static str] = &["launch-template-name", "create-time"];

    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        vec![match filter {
            "create-time" => super::created_at(&self.template.metadata),
            _ => self.template.spec.name.clone(),
        }]
    }
    fn write(&self, x: &mut Xml) {
        let spec = &self.template.spec;
        x.text("launchTemplateId", &self.id)
            .text("launchTemplateName", &spec.name)
            .given("createTime", super::created_at(&self.template.metadata))
            .text("createdBy", created_by(&self.template))
            .text("defaultVersionNumber", spec.default_version)
            .text("latestVersionNumber", spec.latest());
        tags::write(x, &self.tags);
    }
}

fn created_by(template: &LaunchTemplate) -> String {
    format!("arn:aws:iam::{}:root", ids::account(&template.metadata.namespace))
}

fn answered(template: LaunchTemplate) -> Xml {
    let mut x = Xml::new();
    x.node("launchTemplate", |x| Shown::of(template).write(x));
    x
}

async fn create(c: &Context) -> Answer {
    let name = c.params.require("LaunchTemplateName")?.to_owned();
    if !c.params.has("LaunchTemplateData") {
        return Err(Failure::missing("LaunchTemplateData"));
    }
    let first = LaunchTemplateVersion {
        number: 1,
        description: c.params.text("VersionDescription").to_owned(),
        parameters: data(c)?,
        created: Some(c.now()),
    };
    let mut meta = ObjectMeta::in_project(c.project(), c.new_id("lt", 0));
    tags::give(&mut meta, tags::for_new(&c.params, "launch-template")?);
    let spec =
        LaunchTemplateSpec { name: name.clone(), versions: vec![first], default_version: 1, next_version: 2 };
    let taken = |t: &LaunchTemplate| t.spec.name == name && t.metadata.name != meta.name;
    if c.list::<LaunchTemplateSpec>().await?.iter().any(taken) {
        return Err(Failure::new(
            "InvalidLaunchTemplateName.AlreadyExistsException",
            "Launch template name already in use.",
        ));
    }
    Ok(answered(c.create(Object::new(meta, spec)).await?))
}

async fn create_version(c: &Context) -> Answer {
    let template = named(c).await?;
    let own = data(c)?;
    let source = c.params.get("SourceVersion").map(str::to_owned);
    let changed = c
        .change::<LaunchTemplateSpec>(&template.metadata.name, |template| {
            let mut parameters = match &source {
                None => BTreeMap::new(),
                Some(text) => {
                    let number = number(template, text)?;
                    template.spec.version(number).map(|v| v.parameters.clone()).unwrap_or_default()
                }
            };
            let first = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
            parameters.retain(|name, _| !own.keys().any(|given| first(given) == first(name)));
            parameters.extend(own.clone());
            let version = LaunchTemplateVersion {
                number: template.spec.next_version,
                description: c.params.text("VersionDescription").to_owned(),
                parameters,
                created: Some(c.now()),
            };
            template.spec.next_version += 1;
            template.spec.versions.push(version);
            Ok(())
        })
        .await?;
    let mut x = Xml::new();
    if let Some(version) = changed.spec.versions.last() {
        x.node("launchTemplateVersion", |x| Version::of(&changed, version).write(x));
    }
    Ok(x)
}

async fn describe(c: &Context) -> Answer {
    let mut all = c.list::<LaunchTemplateSpec>().await?;
    let names = c.params.list("LaunchTemplateName");
    if let Some(missing) = names.iter().find(|name| !all.iter().any(|t| t.spec.name == **name)) {
        return Err(no_name(missing));
    }
    all.retain(|template| names.is_empty() || names.contains(&template.spec.name));
    let ids = Ids { parameter: "LaunchTemplateId", none: ids::none::<LaunchTemplateSpec> };
    Ok(answer("launchTemplates", &select(&c.params, &ids, all.into_iter().map(Shown::of).collect())?))
}

struct Version {
    /// In the order of numbers.
    at: String,
    template_id: String,
    name: String,
    created_by: String,
    is_default: bool,
    version: LaunchTemplateVersion,
}

impl Version {
    fn of(template: &LaunchTemplate, version: &LaunchTemplateVersion) -> Self {
        Self {
            at: format!("{:010}", version.number),
            template_id: ids::id(template),
            name: template.spec.name.clone(),
            created_by: created_by(template),
            is_default: version.number == template.spec.default_version,
            version: version.clone(),
        }
    }
}

impl Item for Version {
    const FILTERS: &'static [&'static str] = &["image-id", "instance-type", "is-default-version"];

    fn id(&self) -> &str {
        &self.at
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        let of = |name: &str| self.version.parameters.get(name).cloned().into_iter().collect();
        match filter {
            "image-id" => of("ImageId"),
            "instance-type" => of("InstanceType"),
            _ => vec![super::word(self.is_default)],
        }
    }
    fn write(&self, x: &mut Xml) {
        let version = &self.version;
        x.text("launchTemplateId", &self.template_id)
            .text("launchTemplateName", &self.name)
            .text("versionNumber", version.number)
            .given("versionDescription", &version.description)
            .given("createTime", version.created.map(|at| at.to_string()).unwrap_or_default())
            .text("createdBy", &self.created_by)
            .text("defaultVersion", self.is_default)
            .node("launchTemplateData", |x| template_data::write(x, &Params::of(version.parameters.clone())));
    }
}

async fn versions(c: &Context) -> Answer {
    let wanted = c.params.list("LaunchTemplateVersion");
    let templates = match (c.params.get("LaunchTemplateId"), c.params.get("LaunchTemplateName")) {
        // Of all templates only those that count are shown.
        (None, None) if wanted.iter().any(|v| v.starts_with('$')) => c.list::<LaunchTemplateSpec>().await?,
        _ => vec![named(c).await?],
    };
    let bound = |name: &str| c.params.number(name);
    let (min, max) = (bound("MinVersion")?.unwrap_or(0), bound("MaxVersion")?.unwrap_or(i64::MAX));
    let mut found = Vec::new();
    for template in &templates {
        let numbers = wanted.iter().map(|text| number(template, text)).collect::<Result<Vec<_>, _>>()?;
        let is_wanted = |v: &&LaunchTemplateVersion| {
            (numbers.is_empty() || numbers.contains(&v.number)) && (min..=max).contains(&i64::from(v.number))
        };
        found.extend(template.spec.versions.iter().filter(is_wanted).map(|v| Version::of(template, v)));
    }
    let ids = Ids { parameter: "", none: |id| no_version(id) };
    Ok(answer("launchTemplateVersionSet", &select(&c.params, &ids, found)?))
}

async fn modify(c: &Context) -> Answer {
    let template = named(c).await?;
    let wanted = c.params.require("SetDefaultVersion")?;
    let changed = c
        .change::<LaunchTemplateSpec>(&template.metadata.name, |template| {
            template.spec.default_version = number(template, wanted)?;
            Ok(())
        })
        .await?;
    Ok(answered(changed))
}

async fn delete(c: &Context) -> Answer {
    let template = named(c).await?;
    c.delete::<LaunchTemplateSpec>(&template.metadata.name, "DependencyViolation").await?;
    Ok(answered(template))
}

async fn delete_versions(c: &Context) -> Answer {
    let template = named(c).await?;
    let wanted = c.params.list("LaunchTemplateVersion");
    if wanted.is_empty() {
        return Err(Failure::missing("LaunchTemplateVersion.1"));
    }
    let numbers = wanted.iter().map(|text| number(&template, text)).collect::<Result<Vec<_>, _>>()?;
    if numbers.contains(&template.spec.default_version) {
        return Err(Failure::unsupported("The default version of a launch template cannot be deleted"));
    }
    let changed = c
        .change::<LaunchTemplateSpec>(&template.metadata.name, |template| {
            template.spec.versions.retain(|version| !numbers.contains(&version.number));
            Ok(())
        })
        .await?;
    let mut x = Xml::new();
    x.list("successfullyDeletedLaunchTemplateVersionSet", &numbers, |x, number| {
        x.text("launchTemplateId", ids::id(&changed))
            .text("launchTemplateName", &changed.spec.name)
            .text("versionNumber", number);
    });
    x.list("unsuccessfullyDeletedLaunchTemplateVersionSet", std::iter::empty::<()>(), |_, ()| {});
    Ok(x)
}
