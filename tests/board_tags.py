"""What TensorBoard must show of every run."""

TRAIN = {"loss", "top1", "top5", "lr", "gradient_norm", "clips_per_s", "data_wait_percent"}
MACHINE = {"step_ms", "recording_percent", "decoded_frames_per_s", "cpu_percent", "rss_mb"}
VAL = {"loss", "top1", "top5", "mean_class_accuracy", "videos"}
SCALARS = {f"train/{name}" for name in TRAIN} | {f"machine/{name}" for name in MACHINE} | {f"val/{name}" for name in VAL}
SCALARS |= {"best/top1", "best/top5", "best/epoch"}
IMAGES = {"train/clips", "val/clips", "val/confusion", "val/classes"}
