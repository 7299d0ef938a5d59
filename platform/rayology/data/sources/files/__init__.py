"""Where the files of a source lie: on a disk, in an archive, on a medium, or in an object store."""
