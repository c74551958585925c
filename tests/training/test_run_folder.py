"""Run folders: full disks, places that cannot be written, two runs at once."""

from pathlib import Path

import fork_server
from runs import (
    command,
    end,
    flags,
    last,
    one_line,
    run,
    same_weights,
    start,
    wait_for_steps,
)


def test_a_full_disk_ends_the_run_and_leaves_the_checkpoint_before(eight_videos, tmp_path):
    out = tmp_path / "run"
    assert run(*flags(eight_videos, out, epochs=1)).returncode == 0
    before = last(out)
    size = (out / "last.pt").stat().st_size

    words = [*flags(eight_videos, out, "--resume", "auto"), "--checkpoint-steps", "2"]
    done = fork_server.run(command(*words), fork_server.environment(), timeout=100, file_limit=size // 2)
    one_line(done, 2, "checkpoint", "cannot be written", "free the disk")
    assert same_weights(last(out), before)
    assert not list(out.glob("*.partial"))
    done = run(*words)  # there is room again
    assert done.returncode == 0, done.stderr
    assert last(out)["progress"]["epoch"] == 2


def test_records_that_cannot_be_written_do_not_end_a_run(tmp_path, capsys):
    from toy import make_trainer

    trainer = make_trainer(tmp_path / "run", top1s=[1, 2])
    trainer.records._jsonl.close()
    trainer.records._jsonl = Path("/dev/full").open("w", buffering=1)  # noqa: SIM115
    trainer.run(2)
    trainer.records._jsonl = Path("/dev/null").open("w")  # noqa: SIM115
    trainer.records.close()
    assert capsys.readouterr().out.count("can no longer be written (No space left on device); the run goes on") == 1
    assert last(tmp_path / "run")["progress"]["epoch"] == 2


def test_an_output_below_a_file_is_refused(eight_videos, tmp_path):
    (tmp_path / "file").write_text("")
    one_line(run(*flags(eight_videos, tmp_path / "file" / "run")), 2, f"{tmp_path / 'file'} is not a folder")


def test_a_second_run_in_the_same_folder_is_refused_and_a_crash_leaves_no_lock(eight_videos, tmp_path):
    out = tmp_path / "run"
    process = start(*flags(eight_videos, out, epochs=1000))
    try:
        wait_for_steps(process, out, 2)
        for more in ([], ["--resume", "auto"]):
            one_line(run(*flags(eight_videos, out, *more)), 2, f"another run writes there now (process {process.pid} on ")
        assert process.poll() is None
    finally:
        end(process)
    done = run(*flags(eight_videos, out, "--resume", "auto", epochs=1))
    assert done.returncode == 0, done.stderr
