"""The file underneath HDF5.

HDF5 cannot live through a write that fails: what it keeps in memory is then neither written nor forgotten, and closing the file
takes the process down. So it writes through this, which remembers the first error, lets HDF5 believe that all went well, and
writes nothing more; ``RunFile`` looks at `error` after every flush. Nor is the file locked, so that it can be read while
a run goes on.
"""

import io
import os


class DiskFile(io.RawIOBase):
    """A file opened for reading and writing; with mode "w" it begins empty, with "r+" it must exist."""

    def __init__(self, path, mode):
        self.handle = os.open(path, os.O_RDWR | (os.O_CREAT | os.O_TRUNC if mode == "w" else 0), 0o666)
        self.error: OSError | None = None
        self.place = 0
        self.size = os.fstat(self.handle).st_size  # as HDF5 believes it to be

    def seek(self, offset, whence=os.SEEK_SET):
        self.place = offset + (0, self.place, self.size)[whence]
        return self.place

    def tell(self):
        return self.place

    def readinto(self, buffer):
        data = os.pread(self.handle, len(buffer), self.place)
        buffer[: len(data)] = data
        self.place += len(data)
        return len(data)

    def write(self, data):
        done = 0
        while self.error is None and done < len(data):
            try:
                done += os.pwrite(self.handle, data[done:], self.place + done)
            except OSError as error:
                self.error = error
        self.place += len(data)
        self.size = max(self.size, self.place)
        return len(data)

    def truncate(self, size=None):
        self.size = self.place if size is None else size
        if self.error is None:
            try:
                os.ftruncate(self.handle, self.size)
            except OSError as error:
                self.error = error
        return self.size

    def readable(self):
        return True

    writable = seekable = readable

    def close(self):
        if not self.closed:
            os.close(self.handle)
        super().close()
