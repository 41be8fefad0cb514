# What an everyday project builds: a network, a machine in it with a disk of its own, and who it is.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "image" {
  description = "Name of the AMI that the machine starts from."
  type        = string
}

variable "disk" {
  description = "Name of an AMI that is a disk."
  type        = string
}

variable "public_key" {
  description = "The line of OpenSSH that lets in."
  type        = string
}

# The change of the second apply: a larger disk, another tag, a rule more, another policy.
variable "second" {
  type    = bool
  default = false
}

# Region, credentials, endpoint and certificate authority are read from the environment that `corten env aws` gives.
provider "aws" {
  skip_region_validation = true
  s3_use_path_style      = true

  default_tags {
    tags = { Project = "shop" }
  }
}

data "aws_caller_identity" "me" {}

data "aws_availability_zones" "all" {
  state = "available"
}

data "aws_ami" "guest" {
  owners      = ["self"]
  most_recent = true

  filter {
    name   = "name"
    values = [var.image]
  }
}

data "aws_ami" "disk" {
  owners = ["self"]

  filter {
    name   = "name"
    values = [var.disk]
  }

  filter {
    name   = "root-device-type"
    values = ["ebs"]
  }
}

resource "aws_vpc" "shop" {
  cidr_block           = "10.60.0.0/16"
  enable_dns_hostnames = true
  tags                 = { Name = "shop" }
}

resource "aws_subnet" "public" {
  count                   = 2
  vpc_id                  = aws_vpc.shop.id
  cidr_block              = cidrsubnet(aws_vpc.shop.cidr_block, 8, count.index)
  availability_zone       = data.aws_availability_zones.all.names[0]
  map_public_ip_on_launch = count.index == 1
  tags                    = { Name = "public-${count.index}" }
}

resource "aws_internet_gateway" "shop" {
  vpc_id = aws_vpc.shop.id
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.shop.id

  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.shop.id
  }
}

resource "aws_route_table_association" "public" {
  count          = 2
  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public.id
}

# Packet by packet: what comes in for the web, and what goes back to whoever asked.
resource "aws_network_acl" "edge" {
  vpc_id     = aws_vpc.shop.id
  subnet_ids = [aws_subnet.public[0].id]
  tags       = { Name = "edge" }

  ingress {
    rule_no    = 100
    action     = "allow"
    protocol   = "tcp"
    cidr_block = "0.0.0.0/0"
    from_port  = var.second ? 443 : 80
    to_port    = 443
  }

  ingress {
    rule_no    = 110
    action     = "allow"
    protocol   = "icmp"
    cidr_block = "10.0.0.0/8"
    icmp_type  = 8
    icmp_code  = -1
    from_port  = 0
    to_port    = 0
  }

  egress {
    rule_no    = 100
    action     = "allow"
    protocol   = "-1"
    cidr_block = "0.0.0.0/0"
    from_port  = 0
    to_port    = 0
  }
}

resource "aws_vpc_dhcp_options" "shop" {
  domain_name         = "shop.example"
  domain_name_servers = ["AmazonProvidedDNS"]
  ntp_servers         = ["10.60.0.9"]
}

resource "aws_vpc_dhcp_options_association" "shop" {
  vpc_id          = aws_vpc.shop.id
  dhcp_options_id = aws_vpc_dhcp_options.shop.id
}

resource "aws_security_group" "web" {
  name        = "web"
  description = "What serves"
  vpc_id      = aws_vpc.shop.id

  ingress {
    description = "ssh"
    from_port   = 22
    to_port     = 22
    protocol    = "tcp"
    cidr_blocks = ["10.0.0.0/8"]
  }

  egress {
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_security_group" "back" {
  name_prefix = "back-"
  vpc_id      = aws_vpc.shop.id
}

resource "aws_vpc_security_group_ingress_rule" "from_web" {
  security_group_id            = aws_security_group.back.id
  referenced_security_group_id = aws_security_group.web.id
  ip_protocol                  = "tcp"
  from_port                    = var.second ? 8443 : 8080
  to_port                      = var.second ? 8443 : 8080
}

resource "aws_security_group_rule" "https" {
  count             = var.second ? 1 : 0
  type              = "ingress"
  security_group_id = aws_security_group.back.id
  protocol          = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_blocks       = ["0.0.0.0/0"]
}

resource "aws_key_pair" "me" {
  key_name   = "shop"
  public_key = var.public_key
}

resource "aws_iam_role" "web" {
  name = "web"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.amazonaws.com" } }]
  })
}

resource "aws_iam_policy" "look" {
  name = "look"
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = var.second ? ["ec2:Describe*", "iam:Get*"] : ["ec2:Describe*"], Resource = "*" }]
  })
}

resource "aws_iam_role_policy_attachment" "look" {
  role       = aws_iam_role.web.name
  policy_arn = aws_iam_policy.look.arn
}

resource "aws_iam_role_policy" "own" {
  name = "own"
  role = aws_iam_role.web.id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:GetCallerIdentity", Resource = "*" }]
  })
}

resource "aws_iam_instance_profile" "web" {
  name = "web"
  role = aws_iam_role.web.name
}

resource "aws_instance" "web" {
  ami                    = data.aws_ami.guest.id
  instance_type          = "tiny"
  subnet_id              = aws_subnet.public[0].id
  vpc_security_group_ids = [aws_security_group.web.id]
  key_name               = aws_key_pair.me.key_name
  iam_instance_profile   = aws_iam_instance_profile.web.name
  user_data              = "#!/bin/sh\necho shop > /tmp/who\n"
  tags                   = { Name = var.second ? "web-2" : "web" }
}

resource "aws_instance" "scratch" {
  ami           = data.aws_ami.guest.id
  instance_type = "tiny"
  subnet_id     = aws_subnet.public[1].id

  ebs_block_device {
    device_name = "/dev/sdb"
    volume_size = 1
    volume_type = "gp3"
    tags        = { Name = "scratch" }
  }
}

resource "aws_instance" "rooted" {
  ami           = data.aws_ami.disk.id
  instance_type = "tiny"
  subnet_id     = aws_subnet.public[0].id

  root_block_device {
    volume_size = var.second ? 3 : 2
    volume_type = "gp3"
    tags        = { Name = "root" }
  }

  ebs_block_device {
    device_name           = "/dev/sdb"
    volume_size           = 1
    delete_on_termination = true
  }
}

resource "aws_ami_from_instance" "rooted" {
  name                    = "shop"
  source_instance_id      = aws_instance.rooted.id
  snapshot_without_reboot = true
}

resource "aws_network_interface" "back" {
  subnet_id       = aws_subnet.public[0].id
  security_groups = [aws_security_group.back.id]
  tags            = { Name = "back" }
}

resource "aws_network_interface_attachment" "back" {
  instance_id          = aws_instance.web.id
  network_interface_id = aws_network_interface.back.id
  device_index         = 1
}

resource "aws_eip" "web" {
  domain   = "vpc"
  instance = aws_instance.web.id
}

resource "aws_ebs_volume" "data" {
  availability_zone = aws_instance.web.availability_zone
  size              = var.second ? 2 : 1
  type              = "gp3"
  tags              = { Name = "data" }
}

resource "aws_volume_attachment" "data" {
  device_name = "/dev/sdf"
  volume_id   = aws_ebs_volume.data.id
  instance_id = aws_instance.web.id
}

resource "aws_ebs_snapshot" "data" {
  volume_id = aws_ebs_volume.data.id
}

resource "aws_launch_template" "web" {
  name_prefix            = "web-"
  image_id               = data.aws_ami.guest.id
  instance_type          = var.second ? "small" : "tiny"
  key_name               = aws_key_pair.me.key_name
  update_default_version = true
  user_data              = base64encode("#!/bin/sh\n")

  block_device_mappings {
    device_name = "/dev/sdb"
    ebs {
      volume_size = 1
      volume_type = "gp3"
    }
  }

  network_interfaces {
    subnet_id       = aws_subnet.public[1].id
    security_groups = [aws_security_group.back.id]
  }

  tag_specifications {
    resource_type = "instance"
    tags          = { Name = "of-template" }
  }
}

# Tags and user data that a template gives are said here as well: the provider would take the ones away, and hash the
# others twice.
resource "aws_instance" "of_template" {
  tags      = { Name = "of-template" }
  user_data = "#!/bin/sh\n"

  launch_template {
    id      = aws_launch_template.web.id
    version = "1"
  }
}

output "account" {
  value = data.aws_caller_identity.me.account_id
}

output "instance" {
  value = aws_instance.web.id
}

output "address" {
  value = aws_eip.web.public_ip
}

output "root" {
  value = aws_instance.rooted.root_block_device[0].volume_id
}

output "volume" {
  value = aws_ebs_volume.data.id
}
