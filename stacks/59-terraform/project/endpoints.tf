# Ways to the cloud's own API from inside: S3 by a route, EC2 by an address.

resource "aws_route_table" "private" {
  vpc_id = aws_vpc.shop.id
}

resource "aws_vpc_endpoint" "store" {
  vpc_id       = aws_vpc.shop.id
  service_name = "com.amazonaws.my-corten-1.s3"
  route_table_ids = concat(
    [aws_route_table.private.id],
    var.second ? [aws_route_table.public.id] : [],
  )
  tags = { Name = "store" }
}

resource "aws_security_group" "api" {
  name   = "api"
  vpc_id = aws_vpc.shop.id

  ingress {
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = [aws_vpc.shop.cidr_block]
  }
}

resource "aws_vpc_endpoint" "api" {
  vpc_id              = aws_vpc.shop.id
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.my-corten-1.ec2"
  subnet_ids          = var.second ? aws_subnet.public[*].id : [aws_subnet.public[0].id]
  security_group_ids  = [aws_security_group.api.id]
  private_dns_enabled = true

  policy = var.second ? jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = "*"
      Action    = "ec2:Describe*"
      Resource  = "*"
    }]
  }) : null
}
