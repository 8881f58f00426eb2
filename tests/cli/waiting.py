import time


def wait(condition, passing=(), seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if condition():
                return
        except passing:
            pass
        time.sleep(0.1)
    raise TimeoutError
