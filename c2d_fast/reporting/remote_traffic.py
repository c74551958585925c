"""What a run asks of the servers that its videos are on, in words."""

from collections.abc import Mapping


def remote_text(metrics: Mapping[str, float]) -> str:
    """Returns `  remote 0.35 MB, 1.2 requests/clip, 20.1 MB/s`, with two spaces before; "" where nothing was asked for."""
    if "remote_requests_per_clip" not in metrics:
        return ""
    text = (
        f"  remote {metrics['remote_bytes_per_clip'] / 1e6:.2f} MB, {metrics['remote_requests_per_clip']:.1f} requests/clip, "
        f"{metrics['remote_bytes_per_s'] / 1e6:.1f} MB/s"
    )
    return text + (f", {metrics['remote_retries']:.0f} tried again" if metrics["remote_retries"] else "")
