"""Plain PyTorch: trains torchvision's R3D-18, saves every few batches; --resume goes on with the batch that would come next.
python examples/pytorch_r3d18.py data/demo/train.txt data/demo/val.txt r3d18.pt [--resume r3d18.pt]
"""

import argparse

import torch
from torchvision.models.video import r3d_18

from c2d_fast import ClipLoader, Crop, Dense

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("train_list", "val_list", "out", "--resume"):
        parser.add_argument(name)
    for name, default in {"--epochs": 10, "--batch-size": 8, "--frames": 8, "--size": 56, "--save-every": 10}.items():
        parser.add_argument(name, type=int, default=default)
    args = parser.parse_args()
    device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    crop = Crop(size=args.size, train_short_side=args.size * 8 // 7)
    reading = {"clip": Dense(args.frames, interval=2), "crop": crop, "batch_size": args.batch_size}
    train, val = ClipLoader(args.train_list, **reading), ClipLoader(args.val_list, train=False, **reading)
    model = r3d_18(weights=None, num_classes=train.num_classes).to(device, memory_format=torch.channels_last_3d)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    run = {"model": model, "optimizer": optimizer, "loader": train}
    for name, state in torch.load(args.resume, map_location=device).items() if args.resume else ():
        run[name].load_state_dict(state)
    for epoch in range(train.current_epoch, args.epochs):
        train.set_epoch(epoch)
        for number, batch in enumerate(train, 1):
            with torch.autocast(device, dtype, enabled=device == "cuda"):
                loss = torch.nn.functional.cross_entropy(model.train()(batch.as_NCTHW(dtype, normalize=True)), batch.label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if number % args.save_every == 0:
                torch.save({name: part.state_dict() for name, part in run.items()}, args.out)
        with torch.inference_mode():
            right = sum((model.eval()(batch.as_NCTHW(normalize=True)).argmax(1) == batch.label).sum() for batch in val)
        print(f"epoch {epoch}: loss {loss:.4f}, validation accuracy {right / val.num_videos:.1%}")
