"""Prepares moto's S3 for tests/anchors.rs, and attacks what was put there.

    bucket.py prepare ENDPOINT                  a locked and a plain bucket, a user; from then on signatures are checked
    bucket.py attack ENDPOINT KEY_ID SECRET     removes and overwrites all it can; prints what was refused
"""
import json, sys, urllib.request

import boto3
from botocore.exceptions import ClientError


def client(service, endpoint, key_id, secret):
    return boto3.client(service, endpoint_url=endpoint, region_name="eu-central-1", aws_access_key_id=key_id, aws_secret_access_key=secret)


def prepare(endpoint):
    s3, iam = (client(service, endpoint, "any", "any") for service in ("s3", "iam"))
    place = {"LocationConstraint": "eu-central-1"}
    s3.create_bucket(Bucket="locked", CreateBucketConfiguration=place, ObjectLockEnabledForBucket=True)
    s3.create_bucket(Bucket="plain", CreateBucketConfiguration=place)
    iam.create_user(UserName="log")
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    iam.put_user_policy(UserName="log", PolicyName="all", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName="log")["AccessKey"]
    kind = {"Content-Type": "text/plain"}
    request = urllib.request.Request(f"{endpoint}/moto-api/reset-auth", data=b"0", headers=kind, method="POST")
    urllib.request.urlopen(request).read()
    print(json.dumps({"key_id": key["AccessKeyId"], "secret": key["SecretAccessKey"]}))


def attack(endpoint, key_id, secret):
    s3 = client("s3", endpoint, key_id, secret)
    versions = s3.list_object_versions(Bucket="locked")["Versions"]
    refused = 0
    for version in versions:
        name = {"Bucket": "locked", "Key": version["Key"]}
        try:
            s3.delete_object(**name, VersionId=version["VersionId"], BypassGovernanceRetention=True)
        except ClientError as error:
            refused += error.response["Error"]["Code"] == "AccessDenied"
        s3.delete_object(**name)
        s3.put_object(**name, Body=b"another")
    print(json.dumps({"versions": len(versions), "refused": refused}))


{"prepare": prepare, "attack": attack}[sys.argv[1]](*sys.argv[2:])
