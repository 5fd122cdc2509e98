"""Images of the platform: one folder an image; `runtime` is what all first-party servers share."""
