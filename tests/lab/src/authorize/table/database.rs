//! RDS: a call is asked on everything that it names, and on the default option group where it names none,
//! which the reference requires of replicas and the user guide's example policies name for instances.
//!
//! Where an instance is to lie the service reads in EC2 with the caller's rights: the permissions that AWS's
//! own resource provider asks for so that it may make one (the schema of `AWS::RDS::DBInstance`,
//! aws-cloudformation/aws-cloudformation-resource-providers-rds#94).

use super::Asking;
use crate::authorize::evaluate::Ask;

/// For an instance.
const READS_OF_INSTANCE: [&str; 7] = [
    "DescribeAccountAttributes",
    "DescribeAvailabilityZones",
    "DescribeInternetGateways",
    "DescribeSecurityGroups",
    "DescribeSubnets",
    "DescribeVpcAttribute",
    "DescribeVpcs",
];

pub(super) fn asks(it: &Asking<'_>) -> Option<Vec<Ask>> {
    Some(match it.call.action.as_str() {
        "DescribeAccountAttributes"
        | "DescribeDBEngineVersions"
        | "DescribeOrderableDBInstanceOptions" => it.anything(),
        "DescribeDBInstances" | "RebootDBInstance" => {
            vec![it.on_db("db", "DBInstanceIdentifier")]
        }
        "DeleteDBParameterGroup"
        | "DescribeDBParameterGroups"
        | "DescribeDBParameters"
        | "ModifyDBParameterGroup"
        | "ResetDBParameterGroup" => vec![it.on_db("pg", "DBParameterGroupName")],
        "DescribeDBSnapshots" => vec![
            it.on_db("db", "DBInstanceIdentifier"),
            it.on_db("snapshot", "DBSnapshotIdentifier"),
        ],
        "DeleteDBSubnetGroup" | "DescribeDBSubnetGroups" | "ModifyDBSubnetGroup" => {
            vec![it.on_db("subgrp", "DBSubnetGroupName")]
        }
        "ListTagsForResource" => vec![it.on_rds_arn(&it.text("ResourceName"))],
        "AddTagsToResource" | "RemoveTagsFromResource" => {
            vec![
                it.on_rds_arn(&it.text("ResourceName"))
                    .requesting(&it.tags()),
            ]
        }
        "CreateDBInstance" => it.new_instance(),
        "CreateDBInstanceReadReplica" => it.new_replica(),
        "CreateDBParameterGroup" => {
            let named = vec![it.new_db("pg", "DBParameterGroupName")];
            it.tagged_creation(named, "pg", "DBParameterGroupName")
        }
        "CreateDBSubnetGroup" => {
            let named = vec![it.new_db("subgrp", "DBSubnetGroupName")];
            let mut asks = it.tagged_creation(named, "subgrp", "DBSubnetGroupName");
            asks.extend(it.service_linked_role());
            asks
        }
        "CreateDBSnapshot" => {
            let named = vec![
                it.on_db("db", "DBInstanceIdentifier"),
                it.new_db("snapshot", "DBSnapshotIdentifier"),
            ];
            it.tagged_creation(named, "snapshot", "DBSnapshotIdentifier")
        }
        "ModifyDBInstance" => {
            let mut asks = vec![it.on_db("db", "DBInstanceIdentifier")];
            asks.extend(it.named("pg", "DBParameterGroupName"));
            asks.extend(it.reads_of_ec2(&READS_OF_INSTANCE));
            asks
        }
        "DeleteDBInstance" => it.deletion(),
        "DeleteDBSnapshot" => vec![it.on_db("snapshot", "DBSnapshotIdentifier")],
        _ => return None,
    })
}

impl Asking<'_> {
    fn new_instance(&self) -> Vec<Ask> {
        let mut asks = vec![self.new_db("db", "DBInstanceIdentifier")];
        asks.extend(self.named("pg", "DBParameterGroupName"));
        asks.extend(self.named("subgrp", "DBSubnetGroupName"));
        let version = self.params.given("EngineVersion").unwrap_or_default();
        asks.push(self.ask(self.option_group(&version)));
        self.tagged_creation(asks, "db", "DBInstanceIdentifier")
    }

    /// Subnet group and engine are the source's.
    fn new_replica(&self) -> Vec<Ask> {
        let source = self.text("SourceDBInstanceIdentifier");
        let source = source.rsplit(':').next().unwrap_or(&source);
        let mut asks = vec![
            self.new_db("db", "DBInstanceIdentifier"),
            self.on_rds_arn(&self.arn(&format!("db:{source}"))),
        ];
        asks.extend(self.named("pg", "DBParameterGroupName"));
        if let Some(facts) = crate::rds::instance_facts(self.lab, &self.call.region, source) {
            asks.push(self.on_rds_arn(&self.arn(&format!("subgrp:{}", facts.subnet_group))));
            asks.push(self.ask(self.option_group(&facts.engine_version)));
        }
        self.tagged_creation(asks, "db", "DBInstanceIdentifier")
    }

    /// The ARN of what a parameter names. RDS keeps names in lower case.
    fn rds(&self, kind: &str, parameter: &str) -> String {
        let name = self.text(parameter).to_ascii_lowercase();
        self.arn(&format!("{kind}:{name}"))
    }

    fn on_rds_arn(&self, arn: &str) -> Ask {
        let tags = crate::rds::tags_by_arn(self.lab, &self.call.region, arn);
        self.ask(arn)
            .tagged(tags.iter().map(|(key, value)| (key, value)))
    }

    fn on_db(&self, kind: &str, parameter: &str) -> Ask {
        self.on_rds_arn(&self.rds(kind, parameter))
    }

    fn named(&self, kind: &str, parameter: &str) -> Option<Ask> {
        self.params
            .given(parameter)
            .map(|_| self.on_db(kind, parameter))
    }

    fn new_db(&self, kind: &str, parameter: &str) -> Ask {
        self.ask(self.rds(kind, parameter))
    }

    /// `default:postgres-17` for 17.6.
    fn option_group(&self, version: &str) -> String {
        let given = self.params.given("OptionGroupName");
        let major = version.split('.').next().filter(|major| !major.is_empty());
        let name = given.unwrap_or_else(|| format!("default:postgres-{}", major.unwrap_or("*")));
        self.arn(&format!("og:{name}"))
    }

    /// With the request's tags, which the reference names for the action and so for all that it is asked on;
    /// and `AddTagsToResource` on what is made, when it is tagged.
    fn tagged_creation(&self, asks: Vec<Ask>, kind: &str, parameter: &str) -> Vec<Ask> {
        let tags = self.tags();
        let asks = asks.into_iter().map(|ask| ask.requesting(&tags));
        let mut asks: Vec<Ask> = asks.collect();
        let made = self.rds(kind, parameter);
        asks.extend(self.tagging("rds:AddTagsToResource", made, &tags));
        if kind == "db" {
            asks.extend(self.reads_of_ec2(&READS_OF_INSTANCE));
            asks.extend(self.service_linked_role());
        }
        asks
    }

    /// A final snapshot is made, and gets the instance's tags when the instance is set so.
    fn deletion(&self) -> Vec<Ask> {
        let db = self.rds("db", "DBInstanceIdentifier");
        let mut asks = vec![self.on_rds_arn(&db)];
        if self.params.given("FinalDBSnapshotIdentifier").is_none() {
            return asks;
        }
        let snapshot = self.rds("snapshot", "FinalDBSnapshotIdentifier");
        let tags = crate::rds::tags_by_arn(self.lab, &self.call.region, &db);
        asks.push(
            self.other("rds:CreateDBSnapshot", &db)
                .tagged(tags.iter().map(|(key, value)| (key, value))),
        );
        asks.push(self.other("rds:CreateDBSnapshot", &snapshot));
        let name = self.text("DBInstanceIdentifier").to_ascii_lowercase();
        let facts = crate::rds::instance_facts(self.lab, &self.call.region, &name);
        if facts.is_some_and(|facts| facts.copy_tags) {
            asks.push(
                self.other("rds:AddTagsToResource", snapshot)
                    .requesting(&tags),
            );
        }
        asks
    }
}
