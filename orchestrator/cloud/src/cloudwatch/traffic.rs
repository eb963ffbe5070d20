//! What went through the load balancer, by whose counter: what a rollout's steps are judged by.

use std::collections::BTreeMap;

use aws_sdk_cloudwatch::types::Dimension;
use jiff::Timestamp;
use plan::observed::{TargetTraffic, Traffic};

use super::{dimension, moment, query, suffix, values};
use crate::connect::Cloud;
use crate::error::ReadError;

impl Cloud {
    /// What went through the load balancer and these target groups (ARN by name) in `[since, until)`, in
    /// CloudWatch's minutes: those that begin in it.
    ///
    /// The load balancer's own server errors have no target group: AWS counts `HTTPCode_ELB_5XX_Count` by load
    /// balancer (and zone) alone.
    ///
    /// A group's `p95_seconds` is the mean of the minutes' 95th percentiles, weighted by their requests: a
    /// percentile of percentiles does not exist, and one quiet minute must not outvote a busy one.
    pub async fn traffic(
        &self,
        load_balancer_arn: &str,
        target_groups: &BTreeMap<String, String>,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Traffic, ReadError> {
        let load_balancer = dimension("LoadBalancer", suffix(load_balancer_arn, "loadbalancer/"));
        let metric = |id: String, name: &str, statistic: &str, dimensions: Vec<Dimension>| {
            query(&id, "AWS/ApplicationELB", name, statistic, dimensions)
        };
        let mut queries = vec![metric(
            "balancer".to_owned(),
            "HTTPCode_ELB_5XX_Count",
            "Sum",
            vec![load_balancer.clone()],
        )];
        for (index, arn) in target_groups.values().enumerate() {
            let both = vec![
                load_balancer.clone(),
                dimension("TargetGroup", suffix(arn, "")),
            ];
            for (id, name, statistic) in [
                ("requests", "RequestCount", "Sum"),
                ("errors", "HTTPCode_Target_5XX_Count", "Sum"),
                ("p95", "TargetResponseTime", "p95"),
            ] {
                queries.push(metric(
                    format!("{id}{index}"),
                    name,
                    statistic,
                    both.clone(),
                ));
            }
        }
        let results = self.metric_data(queries, since, until).await?;
        // CloudWatch rounds the beginning down to the minute; no minute is to be in two windows.
        let window = moment(since).as_nanos()..moment(until).as_nanos();
        let minutes = |id: String| -> BTreeMap<i128, f64> {
            values(&results, &id)
                .filter(|(minute, _)| window.contains(minute))
                .collect()
        };
        let sum = |minutes: &BTreeMap<i128, f64>| minutes.values().sum::<f64>().round() as u64;
        let groups = target_groups.keys().enumerate().map(|(index, name)| {
            let requests = minutes(format!("requests{index}"));
            let weight = |minute: &i128| requests.get(minute).copied().unwrap_or(1.0);
            let p95 = minutes(format!("p95{index}"));
            let passed = TargetTraffic {
                requests: sum(&requests),
                target_errors: sum(&minutes(format!("errors{index}"))),
                p95_seconds: weighted_mean(p95.iter().map(|(at, value)| (*value, weight(at)))),
            };
            (name.clone(), passed)
        });
        Ok(Traffic {
            since,
            until,
            groups: groups.collect(),
            balancer_errors: sum(&minutes("balancer".to_owned())),
        })
    }
}

fn weighted_mean(samples: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let (sum, weight) = samples.fold((0.0, 0.0), |(sum, weight), (value, of)| {
        (sum + value * of, weight + of)
    });
    (weight > 0.0).then(|| sum / weight)
}

#[cfg(test)]
mod tests {
    use super::weighted_mean;

    #[test]
    fn busy_minutes_count_for_more() {
        let mean = weighted_mean([(0.1, 900.0), (1.1, 100.0)].into_iter()).expect("samples");
        assert!((mean - 0.2).abs() < 1e-9);
        assert_eq!(weighted_mean(std::iter::empty()), None);
    }
}
