"""The library that all first-party servers share: settings, lifecycle, pools, logs, metrics and the HTTP front."""
