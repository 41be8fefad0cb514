//! Which route table a subnet follows. An association has no object of its own: its id follows from the two.

use model::network::{RouteTable, RouteTableSpec, Subnet, SubnetSpec};
use serde_json::json;

use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::ids;
use crate::xml::Xml;

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2("AssociateRouteTable", &["RouteTableId", "SubnetId"], |c| Box::pin(associate(c))),
    Action::ec2("DisassociateRouteTable", &["AssociationId"], |c| Box::pin(disassociate(c))),
    Action::ec2("ReplaceRouteTableAssociation", &["AssociationId", "RouteTableId"], |c| Box::pin(replace(c))),
];

const PREFIX: &str = "rtbassoc";

pub(crate) fn subnet_association(subnet: &Subnet, table: &RouteTable) -> String {
    ids::hashed(PREFIX, &format!("{}/{}", subnet.metadata.uid, table.metadata.uid))
}

/// A VPC's main table is associated with the VPC itself.
pub(crate) fn main_association(table: &RouteTable) -> String {
    ids::hashed(PREFIX, &format!("main/{}", table.metadata.uid))
}

enum Found {
    OfSubnet(Subnet),
    Main(RouteTable),
}

async fn find(c: &Context) -> Result<Found, Failure> {
    let wanted = c.params.require("AssociationId")?;
    let tables = c.list::<RouteTableSpec>().await?;
    for subnet in c.list::<SubnetSpec>().await? {
        let table = ids::find(&tables, &subnet.spec.route_table);
        if table.is_some_and(|table| subnet_association(&subnet, table) == wanted) {
            return Ok(Found::OfSubnet(subnet));
        }
    }
    let main = tables.into_iter().find(|table| table.spec.is_main && main_association(table) == wanted);
    main.map(Found::Main).ok_or_else(|| {
        let wanted: String = wanted.chars().take(80).collect();
        Failure::new("InvalidAssociationID.NotFound", format!("The association ID '{wanted}' does not exist"))
    })
}

fn associated(name: &str, id: &str) -> Xml {
    let mut x = Xml::new();
    x.text(name, id).node("associationState", |x| {
        x.text("state", "associated");
    });
    x
}

async fn follow(c: &Context, subnet: &Subnet, table: &RouteTable) -> Result<String, Failure> {
    let patch = json!({ "spec": { "routeTable": table.metadata.name } });
    c.merge::<SubnetSpec>(&subnet.metadata.name, &patch).await?;
    Ok(subnet_association(subnet, table))
}

async fn associate(c: &Context) -> Answer {
    let table = c.named::<RouteTableSpec>("RouteTableId").await?;
    let subnet = c.named::<SubnetSpec>("SubnetId").await?;
    if !subnet.spec.route_table.is_empty() && subnet.spec.route_table != table.metadata.name {
        let message = format!("the subnet {} is associated with another route table", ids::id(&subnet));
        return Err(Failure::new("Resource.AlreadyAssociated", message));
    }
    Ok(associated("associationId", &follow(c, &subnet, &table).await?))
}

async fn disassociate(c: &Context) -> Answer {
    match find(c).await? {
        Found::OfSubnet(subnet) => {
            let patch = json!({ "spec": { "routeTable": "" } });
            c.merge::<SubnetSpec>(&subnet.metadata.name, &patch).await?;
            Ok(super::done())
        }
        Found::Main(_) => {
            let message = "The main route table association cannot be taken away, only replaced";
            Err(Failure::value(message))
        }
    }
}

async fn replace(c: &Context) -> Answer {
    let table = c.named::<RouteTableSpec>("RouteTableId").await?;
    let id = match find(c).await? {
        Found::OfSubnet(subnet) => follow(c, &subnet, &table).await?,
        Found::Main(old) if old.metadata.name == table.metadata.name => main_association(&table),
        Found::Main(old) => {
            if old.spec.vpc != table.spec.vpc {
                return Err(Failure::value("The route tables belong to different networks"));
            }
            let set = |main: bool| json!({ "spec": { "isMain": main } });
            // A VPC has one main table: the old one makes room, and gets its place back if the new one fails.
            c.merge::<RouteTableSpec>(&old.metadata.name, &set(false)).await?;
            if let Err(failure) = c.merge::<RouteTableSpec>(&table.metadata.name, &set(true)).await {
                c.merge::<RouteTableSpec>(&old.metadata.name, &set(true)).await?;
                return Err(failure);
            }
            main_association(&table)
        }
    };
    Ok(associated("newAssociationId", &id))
}
