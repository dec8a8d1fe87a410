// Package faultfs holds the file systems that crash, fail and fill up. Tests
// and drills put them behind durable.FS; nothing else uses them.
//
// What it is for, by question:
//
//	question                                    answer
//	what is on the disk after a power cut?      Mem, CutAfter, CrashClone
//	what does a kill -9 leave?                  CrashClone(KeepAll)
//	what if the n-th sync says EIO?             Failing
//	what if the disk or its inodes run out?     Full
//
// Mem's model of a disk, which is no kinder than POSIX and no wilder than a
// journaling file system on a disk that writes 512-octet sectors whole:
//
//	thing                  durable when               before that, after a power cut (KeepSome)
//	name in a directory    SyncDir of the directory   a prefix of that directory's changes, in their order; a
//	                                                  rename counts in both directories, and as one
//	octets of a file       Sync of the file           each 512-octet sector as it was after any one of the calls
//	                                                  that touched it, each sector for itself (torn writes)
//	size, holes            Sync of the file           a prefix of the file's size and hole changes, in their order
//
// A file system that promises more (ext4 makes a new file's name durable with
// its fsync) is not modelled: custody must not lean on it.
//
// A Sync that Failing refuses on a Mem drops what was waiting, as kernels do:
// it stays readable, and a later Sync that returns nil does not make it
// durable. All choices come from the seed: the same calls and the same seed
// give the same disk.
//
// Everything here is safe for concurrent use. Nothing here waits.
package faultfs
