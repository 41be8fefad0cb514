//! `network.corten.dev`: networks of tenants, what is attached to them, and what may pass.

mod address;
mod address_pool;
mod cidr;
mod dhcp_options;
mod dns;
mod floating_ip;
mod flow_log;
mod gateway;
mod listener;
mod load_balancer;
mod network_acl;
mod peering;
mod port;
mod prefix_list;
mod record_value;
mod route_table;
mod rules;
mod security_group;
mod subnet;
mod target_group;
mod text;
mod vpc;
mod vpc_endpoint;

pub use address::{Address, AddressError, Mac, MacError};
pub use address_pool::{AddressPool, AddressPoolSpec, AddressPoolStatus};
pub use cidr::{AddressRange, Cidr, CidrError, RangeError};
pub use dhcp_options::{DhcpOptions, DhcpOptionsSpec, DhcpOptionsStatus};
pub use dns::{DnsRecord, DnsRecordSpec, DnsRecordStatus, DnsZone, DnsZoneSpec, DnsZoneStatus, RecordType};
pub use floating_ip::{FloatingIp, FloatingIpSpec, FloatingIpStatus};
pub use flow_log::{FlowField, FlowLog, FlowLogProgress, FlowLogSpec, FlowLogStatus, FlowTraffic};
pub use gateway::{Gateway, GatewaySpec, GatewayStatus, GatewayType};
pub use listener::{
    FixedResponse, Listener, ListenerProtocol, ListenerRule, Redirect, RequestAction, RuleCondition,
    RuleField,
};
pub use load_balancer::{
    CertificateStatus, DATAGRAMS, LoadBalancer, LoadBalancerSpec, LoadBalancerStatus, Scheme, TargetStatus,
};
pub use network_acl::{ACL_RULE_MAX, AclAction, AclRule, NetworkAcl, NetworkAclSpec, NetworkAclStatus};
pub use peering::{Peering, PeeringSpec, PeeringStatus};
pub use port::{Port, PortSpec, PortState, PortStatus};
pub use prefix_list::{PrefixEntry, PrefixList, PrefixListSpec, PrefixListStatus};
pub use record_value::RecordValue;
pub use route_table::{Route, RouteTable, RouteTableSpec, RouteTableStatus, RouteTarget};
pub use security_group::{
    Direction, PortRange, Protocol, ProtocolError, RulePeer, SecurityGroup, SecurityGroupSpec,
    SecurityGroupStatus, SecurityRule,
};
pub use subnet::{Subnet, SubnetMode, SubnetSpec, SubnetStatus};
pub use target_group::{
    Balancing, HealthCheck, Target, TargetGroup, TargetGroupSpec, TargetGroupStatus, TargetProtocol,
};
pub use vpc::{Vpc, VpcDns, VpcSpec, VpcStatus};
pub use vpc_endpoint::{
    EndpointService, EndpointType, Passage, VpcEndpoint, VpcEndpointSpec, VpcEndpointStatus,
};

pub(crate) const GROUP: &str = "network.corten.dev";
