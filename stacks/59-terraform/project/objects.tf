# What is kept: a bucket of S3, and what lies in it.

resource "aws_s3_bucket" "shop" {
  bucket        = "shop-of-terraform"
  force_destroy = true
  tags          = { Name = var.second ? "shop-2" : "shop" }
}

resource "aws_s3_bucket_versioning" "shop" {
  bucket = aws_s3_bucket.shop.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_public_access_block" "shop" {
  bucket                  = aws_s3_bucket.shop.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_lifecycle_configuration" "shop" {
  bucket = aws_s3_bucket_versioning.shop.id

  rule {
    id     = "old"
    status = "Enabled"

    filter {
      prefix = "logs/"
    }

    expiration {
      days = var.second ? 60 : 30
    }
  }
}

resource "aws_s3_bucket_policy" "shop" {
  bucket = aws_s3_bucket.shop.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "NothingGoes"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:PutBucketLogging"
      Resource  = aws_s3_bucket.shop.arn
    }]
  })
}

resource "aws_s3_object" "page" {
  bucket       = aws_s3_bucket_versioning.shop.id
  key          = "pages/index.html"
  content      = var.second ? "<p>changed</p>" : "<p>shop</p>"
  content_type = "text/html"
  tags         = { kind = "page" }
}

# What flows in the network, and where that is kept.
resource "aws_s3_bucket" "flows" {
  bucket        = "flows-of-terraform"
  force_destroy = true
}

resource "aws_flow_log" "shop" {
  vpc_id                   = aws_vpc.shop.id
  traffic_type             = "ALL"
  log_destination_type     = "s3"
  log_destination          = "${aws_s3_bucket.flows.arn}/net"
  max_aggregation_interval = 60
  tags                     = { Name = var.second ? "flows-2" : "flows" }
}

resource "aws_flow_log" "refused" {
  subnet_id            = aws_subnet.public[0].id
  traffic_type         = "REJECT"
  log_destination_type = "s3"
  log_destination      = aws_s3_bucket.flows.arn
  log_format           = "$${version} $${vpc-id} $${instance-id} $${srcaddr} $${dstaddr} $${action} $${flow-direction}"

  destination_options {
    per_hour_partition = true
  }
}
