"""The work, profiled by Pyroscope's package: pyroscope_work.py SERVICE."""

import os
import sys

import pyroscope

from work import flame_work

pyroscope.configure(
    application_name=sys.argv[1], server_address=os.environ["FLAMESTORE_SERVER"], tags={"region": "eu"}
)
flame_work()
