import signal
import subprocess
import sys

from invariances.utils.signals import held_back

LATE = """
import sys
print("started", flush=True)
sys.stdin.readline()
from invariances.errors import Stopped
from invariances.utils.signals import raise_on_signals
try:
    with raise_on_signals():
        pass
except Stopped as stop:
    sys.exit(stop.exit_code)
"""


def test_a_process_has_a_signal_that_was_held_back_once_it_has_handlers():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with held_back():
        process = subprocess.Popen([sys.executable, "-c", LATE], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
    with process:
        assert process.stdout.readline() == b"started\n"
        process.send_signal(signal.SIGTERM)
        process.communicate(b"\n")
    assert process.returncode == 143
