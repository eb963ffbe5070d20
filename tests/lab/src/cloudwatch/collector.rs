//! Each lab minute: CPU of every running instance, and the group metrics that are switched on.

use std::sync::Arc;

use super::{cpu_override, evaluate, put};
use crate::{Lab, asg, ec2, runtime};

/// Collects in the middle of each lab minute, well away from the evaluation at its beginning.
pub async fn run(lab: Arc<Lab>) {
    loop {
        evaluate::sleep_to_phase(&lab, 0.5).await;
        for region in &lab.config.regions {
            collect(&lab, &region.name);
        }
    }
}

fn collect(lab: &Lab, region: &str) {
    for view in ec2::live_instances(lab, region) {
        if view.state != "running" {
            continue;
        }
        let measured = runtime::cpu_percent(lab, &view.id);
        let percent = cpu_override(lab, &view.id)
            .or(measured)
            .unwrap_or(0.0)
            .clamp(0.0, 100.0);
        let record = |dimension: (&str, &str)| {
            put(
                lab,
                region,
                "AWS/EC2",
                "CPUUtilization",
                &[dimension],
                percent,
                "Percent",
            );
        };
        record(("InstanceId", &view.id));
        if let Some(group) = asg::group_of(lab, region, &view.id) {
            record(("AutoScalingGroupName", &group));
        }
    }
    for (group, metric, value) in asg::group_metrics(lab, region) {
        let dimension = [("AutoScalingGroupName", group.as_str())];
        put(
            lab,
            region,
            "AWS/AutoScaling",
            metric,
            &dimension,
            value,
            "None",
        );
    }
}
