"""The Pulumi program: typed settings, pure planning, and the composition of the components."""
