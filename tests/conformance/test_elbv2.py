"""Elastic Load Balancing v2, with real targets behind real listeners."""

import http.server
import ssl
import threading
import urllib.error
import urllib.request

import pytest

TARGET = "127.9.0.1"


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def target():
    server = http.server.ThreadingHTTPServer((TARGET, 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {"Id": TARGET, "Port": server.server_port}
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def balancer(elbv2, network, wait):
    made = elbv2.create_load_balancer(
        Name="chat",
        Subnets=network["subnets"],
        SecurityGroups=[network["group"]],
        Tags=[{"Key": "a", "Value": "b"}],
    )["LoadBalancers"][0]
    arn = made["LoadBalancerArn"]
    wait(elbv2, "load_balancer_exists", LoadBalancerArns=[arn])
    wait(elbv2, "load_balancer_available", LoadBalancerArns=[arn])
    yield made
    elbv2.delete_load_balancer(LoadBalancerArn=arn)
    wait(elbv2, "load_balancers_deleted", LoadBalancerArns=[arn])


def group(elbv2, network, name):
    made = elbv2.create_target_group(
        Name=name,
        Protocol="HTTP",
        Port=8065,
        VpcId=network["vpc"],
        TargetType="ip",
        HealthCheckPath="/",
        HealthCheckIntervalSeconds=5,
        HealthCheckTimeoutSeconds=2,
        Matcher={"HttpCode": "200-299"},
    )
    return made["TargetGroups"][0]["TargetGroupArn"]


def forward(**weights):
    groups = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in weights.items()]
    return [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]


def test_load_balancers(elbv2, balancer, network, refused):
    arn = {"LoadBalancerArn": balancer["LoadBalancerArn"]}
    refused(
        "DuplicateLoadBalancerName",
        elbv2.create_load_balancer,
        Name="chat",
        Subnets=network["subnets"][:2],
    )
    elbv2.modify_load_balancer_attributes(
        **arn, Attributes=[{"Key": "idle_timeout.timeout_seconds", "Value": "120"}]
    )
    shown = elbv2.describe_load_balancer_attributes(**arn)["Attributes"]
    assert {"Key": "idle_timeout.timeout_seconds", "Value": "120"} in shown
    elbv2.set_security_groups(**arn, SecurityGroups=[network["group"]])
    elbv2.set_subnets(**arn, Subnets=network["subnets"][:2])
    elbv2.set_ip_address_type(**arn, IpAddressType="ipv4")
    resource = balancer["LoadBalancerArn"]
    elbv2.add_tags(ResourceArns=[resource], Tags=[{"Key": "c", "Value": "d"}])
    elbv2.remove_tags(ResourceArns=[resource], TagKeys=["c"])
    tags = elbv2.describe_tags(ResourceArns=[resource])["TagDescriptions"][0]["Tags"]
    assert tags == [{"Key": "a", "Value": "b"}]


def test_targets_in_service_and_out(elbv2, balancer, network, target, refused, wait):
    blue, green = group(elbv2, network, "blue"), group(elbv2, network, "green")
    assert group(elbv2, network, "blue") == blue, "the same group again"
    refused(
        "DuplicateTargetGroupName",
        elbv2.create_target_group,
        Name="blue",
        Protocol="HTTP",
        Port=80,
        VpcId=network["vpc"],
    )
    for arn in [blue, green]:
        elbv2.register_targets(TargetGroupArn=arn, Targets=[target])
    health = elbv2.describe_target_health(TargetGroupArn=blue)["TargetHealthDescriptions"]
    assert health[0]["TargetHealth"]["State"] == "unused"
    listener = elbv2.create_listener(
        LoadBalancerArn=balancer["LoadBalancerArn"],
        Protocol="HTTP",
        Port=80,
        DefaultActions=forward(**{blue: 90, green: 10}),
    )["Listeners"][0]["ListenerArn"]
    refused("ResourceInUse", elbv2.delete_target_group, TargetGroupArn=blue)
    wait(elbv2, "target_in_service", TargetGroupArn=blue)
    wait(elbv2, "target_in_service", TargetGroupArn=green)
    elbv2.modify_listener(ListenerArn=listener, DefaultActions=forward(**{blue: 0, green: 100}))
    shown = elbv2.describe_listeners(ListenerArns=[listener])["Listeners"][0]
    assert len(shown["DefaultActions"][0]["ForwardConfig"]["TargetGroups"]) == 2
    elbv2.describe_listener_attributes(ListenerArn=listener)
    elbv2.modify_target_group(TargetGroupArn=blue, HealthCheckPath="/x")
    elbv2.modify_target_group_attributes(
        TargetGroupArn=blue,
        Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "30"}],
    )
    shown = elbv2.describe_target_group_attributes(TargetGroupArn=blue)["Attributes"]
    assert {"Key": "deregistration_delay.timeout_seconds", "Value": "30"} in shown
    mine = elbv2.describe_target_groups(Names=["blue"])["TargetGroups"][0]["LoadBalancerArns"]
    assert mine == [balancer["LoadBalancerArn"]]
    elbv2.deregister_targets(TargetGroupArn=blue, Targets=[target])
    wait(elbv2, "target_deregistered", TargetGroupArn=blue, Targets=[target])
    elbv2.delete_listener(ListenerArn=listener)
    for arn in [blue, green]:
        elbv2.delete_target_group(TargetGroupArn=arn)


def test_rules(elbv2, balancer, refused):
    fixed = {"StatusCode": "503", "MessageBody": "hi", "ContentType": "text/plain"}
    actions = [{"Type": "fixed-response", "FixedResponseConfig": fixed}]
    listener = elbv2.create_listener(
        LoadBalancerArn=balancer["LoadBalancerArn"],
        Protocol="HTTP",
        Port=81,
        DefaultActions=actions,
    )["Listeners"][0]["ListenerArn"]
    conditions = [
        {"Field": "path-pattern", "PathPatternConfig": {"Values": ["/m"]}},
        {"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "a", "Value": "b"}]}},
        {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X", "Values": ["1"]}},
        {"Field": "source-ip", "SourceIpConfig": {"Values": ["127.0.0.0/8"]}},
    ]
    made = {"ListenerArn": listener, "Conditions": conditions, "Actions": actions}
    rule = elbv2.create_rule(**made, Priority=5)["Rules"][0]["RuleArn"]
    refused("PriorityInUse", elbv2.create_rule, **made, Priority=5)
    for name, values in [("Host", ["1"]), ("X*", ["1"]), ("X" * 41, ["1"]), ("X", list("123456"))]:
        header = {"HttpHeaderName": name, "Values": values}
        odd = [{"Field": "http-header", "HttpHeaderConfig": header}]
        refused("ValidationError", elbv2.create_rule, **{**made, "Conditions": odd}, Priority=6)
    redirect = {"StatusCode": "HTTP_301", "Protocol": "HTTPS"}
    elbv2.modify_rule(RuleArn=rule, Actions=[{"Type": "redirect", "RedirectConfig": redirect}])
    elbv2.set_rule_priorities(RulePriorities=[{"RuleArn": rule, "Priority": 7}])
    shown = elbv2.describe_rules(ListenerArn=listener)["Rules"]
    assert [it["Priority"] for it in shown] == ["7", "default"]
    elbv2.delete_rule(RuleArn=rule)
    refused("RuleNotFound", elbv2.describe_rules, RuleArns=[rule])
    elbv2.delete_listener(ListenerArn=listener)


def test_certificates(elbv2, lab, balancer, until):
    def issue(domain, *addresses):
        body = {"domain": domain, "region": "us-east-1", "addresses": addresses}
        return lab.control("POST", "acm/certificates", body)["arn"]

    arn = balancer["LoadBalancerArn"]
    shown = elbv2.describe_load_balancers(LoadBalancerArns=[arn])["LoadBalancers"][0]
    address = shown["DNSName"]
    first = issue("chat.example.com", address)
    second = issue("www.example.com")
    fixed = {"StatusCode": "200", "MessageBody": "secure", "ContentType": "text/plain"}
    listener = elbv2.create_listener(
        LoadBalancerArn=balancer["LoadBalancerArn"],
        Protocol="HTTPS",
        Port=8443,
        Certificates=[{"CertificateArn": first}],
        DefaultActions=[{"Type": "fixed-response", "FixedResponseConfig": fixed}],
    )["Listeners"][0]["ListenerArn"]
    trust = ssl.create_default_context(cafile=lab.ready["ca"])
    url = f"https://{address}:8443/"

    def served():
        try:
            with urllib.request.urlopen(url, context=trust, timeout=10) as answer:
                return answer.read() == b"secure"
        except urllib.error.URLError as error:
            assert isinstance(error.reason, ConnectionRefusedError), error
            return False

    until(served, f"an answer at {url}")
    extra = {"ListenerArn": listener, "Certificates": [{"CertificateArn": second}]}
    elbv2.add_listener_certificates(**extra)
    shown = elbv2.describe_listener_certificates(ListenerArn=listener)["Certificates"]
    assert {it["CertificateArn"] for it in shown} == {first, second}
    elbv2.remove_listener_certificates(**extra)
    acm = lab.client("acm")
    with pytest.raises(acm.exceptions.ResourceInUseException):
        acm.delete_certificate(CertificateArn=first)
    elbv2.delete_listener(ListenerArn=listener)
    for arn in [first, second]:
        acm.delete_certificate(CertificateArn=arn)


def test_catalogues(elbv2):
    assert elbv2.describe_account_limits()["Limits"]
    assert elbv2.describe_ssl_policies()["SslPolicies"]


NOWHERE = "arn:aws:elasticloadbalancing:us-east-1:000000000000"


@pytest.mark.parametrize(
    ("code", "call", "arguments"),
    [
        ("LoadBalancerNotFound", "describe_load_balancers", {"Names": ["nope"]}),
        ("TargetGroupNotFound", "describe_target_groups", {"Names": ["nope"]}),
        (
            "ListenerNotFound",
            "describe_listeners",
            {"ListenerArns": [f"{NOWHERE}:listener/app/x/0123456789abcdef/0123456789abcdef"]},
        ),
        ("InvalidAction", "describe_trust_stores", {}),
    ],
)
def test_errors(elbv2, refused, code, call, arguments):
    refused(code, getattr(elbv2, call), **arguments)
