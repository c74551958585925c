"""Lightning: trains torchvision's MC3-18. Checkpoints hold the loader's place, so the same command again goes on in mid-epoch.
python examples/lightning_module.py data/demo/train.txt data/demo/val.txt EPOCHS FOLDER_OF_CHECKPOINTS"""

import sys

import torch
from lightning.pytorch import LightningModule, Trainer, callbacks
from torchvision.models.video import mc3_18

from c2d_fast import ClipLoader, Crop, Dense

READING = {"batch_size": 8, "clip": Dense(4, interval=4), "crop": Crop(size=56, train_short_side=64)}


class Classifier(LightningModule):
    def configure_model(self):
        self.model = mc3_18(weights=None, num_classes=8)

    def train_dataloader(self):  # called when the ranks are known: each reads its own part
        return ClipLoader(sys.argv[1], **READING)

    def val_dataloader(self):
        return ClipLoader(sys.argv[2], train=False, **READING)

    def training_step(self, batch, _):
        loss = torch.nn.functional.cross_entropy(self.model(batch.as_NCTHW(normalize=True)), batch.label)
        self.log("loss", loss, on_epoch=True, prog_bar=True, batch_size=batch.num_valid)
        return loss

    def validation_step(self, batch, _):
        right = self.model(batch.as_NCTHW(normalize=True)).argmax(1) == batch.label
        self.log("accuracy", right.float().mean(), prog_bar=True, batch_size=batch.num_valid, sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


if __name__ == "__main__":
    cb = [callbacks.ModelCheckpoint(sys.argv[4], every_n_train_steps=10, save_last=True), callbacks.TQDMProgressBar(leave=True)]
    Trainer(max_epochs=int(sys.argv[3]), callbacks=cb).fit(Classifier(), ckpt_path="last")
