//! CloudWatch, Secrets Manager, Certificate Manager, STS.

use super::Asking;
use crate::authorize::evaluate::Ask;

pub(super) fn cloudwatch(it: &Asking<'_>) -> Option<Vec<Ask>> {
    let alarm = |name: &str| it.arn(&format!("alarm:{name}"));
    let each = |names: Vec<String>| names.iter().map(|name| it.on_alarm(&alarm(name))).collect();
    Some(match it.call.action.as_str() {
        "GetMetricData" | "GetMetricStatistics" | "ListMetrics" => it.anything(),
        "DeleteAlarms" | "DescribeAlarms" => each(it.texts("AlarmNames")),
        "ListTagsForResource" => vec![it.on_alarm(&it.text("ResourceARN"))],
        "TagResource" => vec![it.on_alarm(&it.text("ResourceARN")).requesting(&it.tags())],
        // Tags need a permission of their own (CloudWatch API reference, `PutMetricAlarm`).
        "PutMetricAlarm" => {
            let (arn, tags) = (alarm(&it.text("AlarmName")), it.tags());
            let mut asks = vec![it.on_alarm(&arn).requesting(&tags)];
            asks.extend(it.tagging("cloudwatch:TagResource", arn, &tags));
            asks
        }
        _ => return None,
    })
}

pub(super) fn secrets(it: &Asking<'_>) -> Option<Vec<Ask>> {
    Some(match it.call.action.as_str() {
        "GetRandomPassword" | "ListSecrets" => it.anything(),
        "CreateSecret" => {
            let tags = it.tags();
            let arn = it.arn(&format!("secret:{}", it.text("Name")));
            let mut asks = vec![it.ask(&arn).requesting(&tags)];
            asks.extend(it.tagging("secretsmanager:TagResource", arn, &tags));
            asks
        }
        "TagResource" => vec![it.on_secret().requesting(&it.tags())],
        "DeleteSecret"
        | "DescribeSecret"
        | "GetSecretValue"
        | "PutSecretValue"
        | "RestoreSecret"
        | "UpdateSecret"
        | "UpdateSecretVersionStage"
        | "ListSecretVersionIds" => {
            vec![it.on_secret()]
        }
        _ => return None,
    })
}

pub(super) fn acm(it: &Asking<'_>) -> Option<Vec<Ask>> {
    Some(match it.call.action.as_str() {
        "ListCertificates" => it.anything(),
        "DescribeCertificate" => {
            let arn = it.text("CertificateArn");
            let tags = crate::acm::tags_by_arn(it.lab, &arn);
            vec![it.ask(arn).tagged(&tags)]
        }
        _ => return None,
    })
}

pub(super) fn sts(it: &Asking<'_>) -> Option<Vec<Ask>> {
    match it.call.action.as_str() {
        "AssumeRole" => Some(vec![it.ask(it.text("RoleArn"))]),
        _ => None,
    }
}

impl Asking<'_> {
    fn on_alarm(&self, arn: &str) -> Ask {
        let tags = crate::cloudwatch::tags_by_arn(self.lab, &self.call.region, arn);
        self.ask(arn).tagged(&tags)
    }

    /// By its ARN, which ends with six characters of its own; what does not exist is asked about by the name
    /// that the call has for it.
    fn on_secret(&self) -> Ask {
        let id = self.text("SecretId");
        match crate::secrets::facts(self.lab, &self.call.region, &id) {
            Some((arn, tags)) => self
                .ask(arn)
                .tagged(tags.iter().map(|(key, value)| (key, value))),
            None if id.starts_with("arn:") => self.ask(id),
            None => self.ask(self.arn(&format!("secret:{id}"))),
        }
    }
}
