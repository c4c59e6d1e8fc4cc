package kafkaio

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// indexEntryBytes is the size of an entry of the embedded broker's index, in the release that go.mod pins.
const indexEntryBytes = 15

// repair makes the logs of an embedded broker fit their indexes, before it opens them. It writes a batch and then an entry
// of the index, and answers after both; killed in between, it would take the next entry for the batch that has none, and
// be off by one for the rest of the log: what was aborted would be committed, and the other way round. The batch was
// never acknowledged, so it goes. Only the last segment of a partition can be affected.
func repair(dir string, log *slog.Logger) error {
	logs, err := filepath.Glob(filepath.Join(dir, "partitions", "*", "*.dat"))
	if err != nil {
		return err
	}
	last := map[string]string{}
	for _, path := range logs {
		partition := filepath.Dir(path)
		if other := last[partition]; other == "" || segmentBase(other) < segmentBase(path) {
			last[partition] = path
		}
	}
	for _, path := range last {
		if err := repairSegment(path, log); err != nil {
			return fmt.Errorf("repair %s: %w", path, err)
		}
	}
	return nil
}

// segmentBase is the offset that a segment file is named after.
func segmentBase(path string) int64 {
	n, err := strconv.ParseInt(strings.TrimSuffix(filepath.Base(path), ".dat"), 10, 64)
	if err != nil {
		return -1 // no segment: any other is later
	}
	return n
}

func repairSegment(path string, log *slog.Logger) error {
	batches, lastAt, err := countBatches(path)
	if err != nil {
		return err
	}
	index := strings.TrimSuffix(path, ".dat") + ".idx"
	size := int64(0)
	switch stat, err := os.Stat(index); {
	case err == nil:
		size = stat.Size()
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	entries := size / indexEntryBytes
	if size%indexEntryBytes != 0 {
		if err := os.Truncate(index, entries*indexEntryBytes); err != nil {
			return err
		}
	}
	switch batches - entries {
	case 1:
		log.Info("embedded kafka drops a batch that it had not acknowledged when it was killed", "log", path)
		return os.Truncate(path, lastAt)
	case 0:
		return nil
	}
	if batches > entries {
		log.Warn("embedded kafka has a log whose index is too short, which is left alone", "log", path, "batches", batches, "entries", entries)
	}
	return nil // entries without a batch are dropped by the broker
}

// countBatches counts the whole batches of a segment, and tells where the last one begins.
func countBatches(path string) (count, lastAt int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	in := bufio.NewReader(f)
	head := make([]byte, 12)
	for at := int64(0); ; {
		if _, err := io.ReadFull(in, head); err != nil {
			return count, lastAt, ended(err)
		}
		size := int64(int32(binary.BigEndian.Uint32(head[8:])))
		if size < 0 || at+int64(len(head))+size > stat.Size() {
			return count, lastAt, nil
		}
		if _, err := in.Discard(int(size)); err != nil {
			return count, lastAt, ended(err)
		}
		count, lastAt = count+1, at
		at += int64(len(head)) + size
	}
}

// ended makes the end of a file no error.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
