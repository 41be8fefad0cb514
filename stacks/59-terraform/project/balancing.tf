# Who answers for the machines: a load balancer with its rules, and a group that keeps as many servers as are wanted.

resource "aws_lb" "front" {
  name               = "front"
  internal           = true
  load_balancer_type = "application"
  subnets            = [aws_subnet.public[0].id]
  security_groups    = [aws_security_group.web.id]
  idle_timeout       = var.second ? 120 : 60
  tags               = { Name = var.second ? "front-2" : "front" }
}

resource "aws_lb_target_group" "web" {
  name                 = "web"
  port                 = 80
  protocol             = "HTTP"
  vpc_id               = aws_vpc.shop.id
  deregistration_delay = 1

  health_check {
    path     = var.second ? "/ready" : "/health"
    interval = 5
    timeout  = 2
  }
}

resource "aws_lb_target_group_attachment" "web" {
  target_group_arn = aws_lb_target_group.web.arn
  target_id        = aws_instance.web.id
  port             = 80
}

resource "aws_lb_listener" "http" {
  load_balancer_arn = aws_lb.front.arn
  port              = 80
  protocol          = "HTTP"

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.web.arn
  }
}

resource "aws_lb_listener" "moved" {
  load_balancer_arn = aws_lb.front.arn
  port              = 8080
  protocol          = "HTTP"

  default_action {
    type = "redirect"

    redirect {
      port        = "80"
      protocol    = "HTTP"
      status_code = "HTTP_301"
    }
  }
}

resource "aws_lb_listener_rule" "private" {
  listener_arn = aws_lb_listener.http.arn
  priority     = var.second ? 20 : 10

  action {
    type = "fixed-response"

    fixed_response {
      content_type = "text/plain"
      message_body = "no"
      status_code  = var.second ? "410" : "404"
    }
  }

  condition {
    path_pattern {
      values = ["/private/*"]
    }
  }
}

resource "aws_launch_template" "fleet" {
  name          = "fleet"
  image_id      = data.aws_ami.guest.id
  instance_type = "tiny"
}

resource "aws_autoscaling_group" "fleet" {
  name                = "fleet"
  min_size            = 1
  max_size            = var.second ? 3 : 2
  desired_capacity    = 1
  vpc_zone_identifier = [aws_subnet.public[0].id]
  target_group_arns   = [aws_lb_target_group.web.arn]

  launch_template {
    id      = aws_launch_template.fleet.id
    version = aws_launch_template.fleet.latest_version
  }

  tag {
    key                 = "Name"
    value               = var.second ? "fleet-2" : "fleet"
    propagate_at_launch = true
  }
}
