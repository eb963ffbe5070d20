# The image: Debian, the agent, its units, postgresql-client, and optionally a release in the cache.
#
#   packer build packer/                                 from the top of the repository
#
# Valid for the Packer that Debian ships (1.6.6) as it is. Current Packer keeps the Amazon plugin
# outside itself: copy `plugins.pkr.hcl.example` to `plugins.pkr.hcl` and run `packer init packer/` once.

variable "region" {
  type        = string
  default     = "us-east-1"
  description = "Home region: where the image is built."
}

variable "copy_to" {
  type        = list(string)
  default     = []
  description = "Further regions that get a copy. The orchestrator copies what is missing by itself."
}

variable "mattermost_version" {
  type        = string
  default     = "11.10.0"
  description = "Version that the image is named after; its tarball may lie in the cache."
}

variable "agent_version" {
  type    = string
  default = "0.1.0"
}

variable "agent_binary" {
  type        = string
  default     = "target/node/mattermost-agent"
  description = "The built agent, for the image's architecture; its file is called mattermost-agent."
}

variable "cached_tarball" {
  type        = string
  default     = ""
  description = "A release tarball (.tar.gz) to put into the image's cache: nodes then start without a download. Its digest is checked by the agent all the same."
}

variable "instance_type" {
  type    = string
  default = "t3.small"
}

variable "source_owner" {
  type        = string
  default     = "136693071363"
  description = "Debian's account."
}

variable "source_name" {
  type    = string
  default = "debian-12-amd64-*"
}

variable "endpoint" {
  type        = string
  default     = ""
  description = "EC2 endpoint other than AWS's own, for a local region."
}

variable "ssh_interface" {
  type        = string
  default     = "public_ip"
  description = "private_ip when Packer runs in the builder's network."
}

locals {
  timestamp = formatdate("YYYYMMDDhhmmss", timestamp())
}

source "amazon-ebs" "base" {
  region              = var.region
  ami_regions         = var.copy_to
  custom_endpoint_ec2 = var.endpoint
  instance_type       = var.instance_type
  ssh_username        = "admin"
  ssh_interface       = var.ssh_interface

  ami_name        = "mattermost-base-${var.mattermost_version}-${local.timestamp}"
  ami_description = "Mattermost node: agent ${var.agent_version}, Mattermost ${var.mattermost_version}"

  source_ami_filter {
    owners      = [var.source_owner]
    most_recent = true
    filters = {
      name                = var.source_name
      virtualization-type = "hvm"
      root-device-type    = "ebs"
    }
  }

  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_size           = 16
    volume_type           = "gp3"
    iops                  = 3000
    throughput            = 125
    delete_on_termination = true

    # The account's default key for EBS. What is launched from the image, and its copies, are encrypted with it.
    encrypted = true
  }

  tags = {
    Name                    = "mattermost-base-${var.mattermost_version}-${local.timestamp}"
    "mattermost:agent"      = var.agent_version
    "mattermost:mattermost" = var.mattermost_version
  }
}

build {
  sources = ["source.amazon-ebs.base"]

  provisioner "shell" {
    inline = ["mkdir -p /tmp/image"]
  }

  # Each keeps its name; `compact` leaves out the tarball that was not given.
  provisioner "file" {
    sources     = compact(["systemd/", var.agent_binary, var.cached_tarball])
    destination = "/tmp/image/"
  }

  provisioner "shell" {
    script          = "packer/provision.sh"
    execute_command = "sudo sh -eu {{ .Path }}"
  }
}
