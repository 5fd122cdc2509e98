"""The embedded engine: runs an unmodified Pulumi Python program over Pulumi's own protocol and state format.

It is used where the `pulumi` CLI is not to be had, for hermetic previews, and in tests. Nothing here knows the platform.
"""

import os

# gRPC's C library prints notices of connections that are closed on purpose; it reads this when it is first imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
