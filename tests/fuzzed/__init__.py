"""Damaged files of every kind that this project reads back: what a whole one holds, and how it is read."""

from fuzzed.archives import DamagedManifest, DumpJson, DumpPickle, OddLabels, OddManifest, PacketTableFile
from fuzzed.models import CheckpointFile, DamagedCheckpoint, PublishedFile, SafetensorsFile
from fuzzed.texts import (
    CacheFile,
    ConfigFile,
    DamagedCache,
    DamagedJournal,
    DemoStamp,
    LabelMap,
    ListFile,
    ListText,
    LockFile,
    MetricsFile,
    QuarantineFile,
    RunFolder,
    ScanJournal,
    StoredPackets,
    TranscodeJournal,
)

READERS = {
    kind.__name__: kind
    for kind in (
        *(ScanJournal, DamagedJournal, TranscodeJournal, QuarantineFile, StoredPackets, CacheFile, DamagedCache, MetricsFile),
        *(RunFolder, ConfigFile, LockFile, DemoStamp, LabelMap, ListFile, ListText, DamagedManifest, OddManifest, OddLabels),
        *(PacketTableFile, DumpJson, DumpPickle, CheckpointFile, DamagedCheckpoint, PublishedFile, SafetensorsFile),
    )
}
