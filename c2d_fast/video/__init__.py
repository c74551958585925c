"""Video files: what is known of one, which packets a clip needs, how frames are read, cropped and written. No torch, no DALI.

May import: remote, processes.

facts.py            what is known of a file: the columns of a manifest
examine.py          finds it out, more or less thoroughly
containers.py       which files may be opened, as what
demuxed.py          a container's packets, also where streams begin in its middle
container_bytes.py  whether a file ends before its container says
timestamps.py       what timestamps tell: rate, order, gaps
nal.py              headers of packets: dependencies, entries, parameter sets
parameter_sets.py   sequence parameter sets: coded size, cropping, fields
picture_order.py    the order of pictures by their own headers
decoded_order.py    the order of frames, by decoding
orientation.py      quarter turns and mirrors that a container asks for
packets.py          the packets that the wanted frames depend on, and how they are read
reader.py           frames by number, or a clip as a small file
long_video.py       frames of a long video at given times, read once
live_source.py      a camera, a device or a pipe, and how it is opened
live_reader.py      a stream's packets, no older than a limit; opens it again
live_frames.py      of these frames, each at its time since the first
small_file.py       a clip's packets as a file for DALI's decoders
frame_converter.py  upright RGB images of decoded frames
crops.py            scale, cut, resize and flip on a CPU
writer.py           writes an H.264 mp4 for people to look at
video_files.py      which files of a folder are videos
file_states.py      which files these are: sizes, modification times, ETags
storage.py          whether the storage or the video is to blame for an error
storage_wait.py     waits for a storage that is gone
"""
