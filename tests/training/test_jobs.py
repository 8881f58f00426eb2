import os
import signal
import subprocess
import sys
import time

import pytest

from invariances.training.jobs import Job, run_jobs


def python(name, code):
    return Job(name, [sys.executable, "-c", code])


def test_jobs_run_side_by_side_and_share_the_cores(capfd, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("invariances.utils.process_settings.n_cpus", lambda: 4)
    meet = "import os, time; open('{0}', 'w'); t = time.time() + 20\n"
    meet += "while not os.path.exists('{1}') and time.time() < t: time.sleep(.01)\n"
    meet += "print(os.path.exists('{1}'), os.environ['OMP_NUM_THREADS'])"
    assert run_jobs([python("a", meet.format("a.txt", "b.txt")), python("b", meet.format("b.txt", "a.txt"))], 2) == 0
    lines = capfd.readouterr().out.splitlines()
    assert {"[a] True 2", "[b] True 2"} <= set(lines)


def test_the_users_number_of_threads_counts(capfd, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert run_jobs([python("a", "import os; print(os.environ['OMP_NUM_THREADS'])")], 1) == 0
    assert capfd.readouterr().out == "[a] 3\n"


def test_each_process_has_a_gpu_of_its_own(capfd):
    show = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"
    assert run_jobs([python("a", show), python("b", show)], 2, gpus=["4", "7"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert sorted(line.split()[-1] for line in lines if "ended" not in line) == ["4", "7"]


def test_after_a_failure_no_other_begins_and_its_exit_code_is_returned(capfd):
    jobs = [python("a", "print('ran')"), python("b", "raise SystemExit(3)"), python("c", "print('never')")]
    assert run_jobs(jobs, 1) == 3
    out = capfd.readouterr().out
    assert "[a] ran" in out
    assert "[b] ended with exit code 3" in out
    assert "never" not in out


def test_the_lines_of_a_progress_bar(capfd):
    assert run_jobs([python("a", r"import sys; sys.stdout.write('1%\r2%\r\n3%')")], 1) == 0
    assert capfd.readouterr().out == "[a] 1%\n[a] 2%\n[a] 3%\n"


def test_lines_of_two_jobs_never_mix():
    at_once, most = 0, 0

    def listen(name, line):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        time.sleep(0.002)
        at_once -= 1

    count = "for i in range(30): print(i, flush=True)"
    assert run_jobs([python("a", count), python("b", count)], 2, listen=listen) == 0
    assert most == 1


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_reaches_all_and_the_others_do_not_begin(signum):
    wait = "import signal, sys, time\n"
    wait += "for s in (2, 15): signal.signal(s, lambda n, f: sys.exit(40))\n"
    wait += "print('waits', flush=True)\n"
    wait += "for _ in range(600): time.sleep(0.1)"  # a signal just before a sleep does not end it
    code = "from invariances.training.jobs import Job, run_jobs; import sys\n"
    code += f"jobs = [Job(name, [sys.executable, '-c', {wait!r}]) for name in 'abc']\nsys.exit(run_jobs(jobs, 2))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ)
    assert [process.stdout.readline().split()[1] for _ in range(2)] == ["waits"] * 2
    started = time.monotonic()
    process.send_signal(signum)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 40
    assert time.monotonic() - started < 20
    assert "[c]" not in out
