"""Certificate Manager."""

import pytest

NOBODY = "arn:aws:acm:us-east-1:000000000000:certificate/00000000-0000-0000-0000-000000000000"


@pytest.fixture
def acm(lab):
    return lab.client("acm")


def test_a_requested_certificate(acm, wait, refused):
    asked = acm.request_certificate(
        DomainName="chat.example.com",
        ValidationMethod="DNS",
        SubjectAlternativeNames=["www.example.com"],
        Tags=[{"Key": "a", "Value": "b"}],
    )
    arn = {"CertificateArn": asked["CertificateArn"]}
    shown = acm.describe_certificate(**arn)["Certificate"]
    assert shown["DomainName"] == "chat.example.com"
    wait(acm, "certificate_validated", **arn)
    assert acm.get_certificate(**arn)["Certificate"].startswith("-----BEGIN CERTIFICATE")
    listed = acm.list_certificates()["CertificateSummaryList"]
    assert arn["CertificateArn"] in [it["CertificateArn"] for it in listed]
    acm.add_tags_to_certificate(**arn, Tags=[{"Key": "c", "Value": "d"}])
    assert len(acm.list_tags_for_certificate(**arn)["Tags"]) == 2
    acm.delete_certificate(**arn)
    refused("ResourceNotFoundException", acm.describe_certificate, **arn)


def test_an_imported_certificate(acm, certificate):
    made = acm.import_certificate(Certificate=certificate[0], PrivateKey=certificate[1])
    arn = {"CertificateArn": made["CertificateArn"]}
    assert acm.describe_certificate(**arn)["Certificate"]["Type"] == "IMPORTED"
    again = acm.import_certificate(
        **arn, Certificate=certificate[0], PrivateKey=certificate[1]
    )
    assert again["CertificateArn"] == made["CertificateArn"]
    acm.delete_certificate(**arn)


def test_errors(acm, refused):
    refused("ResourceNotFoundException", acm.describe_certificate, CertificateArn=NOBODY)
    refused("ResourceNotFoundException", acm.delete_certificate, CertificateArn=NOBODY)
    refused("UnknownOperationException", acm.get_account_configuration)
