package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// quiet is how long a folder must rest before its change counts: editors save in several steps, and a build in between
// would fail. It is a small part of the second in which a reload is promised.
const quiet = 60 * time.Millisecond

// maxWatched bounds the folders below the source that are watched: more is a sign of the wrong folder.
const maxWatched = 1000

// watcher tells when the source below a folder has changed. Hidden folders and files, and the files that builds make, do
// not count.
type watcher struct {
	notify *fsnotify.Watcher
	ignore map[string]bool // absolute paths of modules that are built; also what begins with one, as compilers' temporary files do
	own    []fs.FileInfo   // files that weir dev itself writes to: each line in them would have it deploy and write another
}

// ignoreOwn leaves out the files behind streams, such as those of weir dev > log.
func (w *watcher) ignoreOwn(streams ...io.Writer) {
	for _, stream := range streams {
		if file, ok := stream.(*os.File); ok {
			if stat, err := file.Stat(); err == nil && stat.Mode().IsRegular() {
				w.own = append(w.own, stat)
			}
		}
	}
}

func watch(folder string, made []string) (*watcher, error) {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", folder, err)
	}
	w := &watcher{notify: notify, ignore: map[string]bool{}}
	for _, file := range made {
		w.ignore[file] = true
	}
	if err := w.add(folder); err != nil {
		_ = notify.Close() // the error before it is the one that counts
		return nil, err
	}
	return w, nil
}

// add watches a folder and all below it.
func (w *watcher) add(folder string) error {
	return filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return nil // it was removed meanwhile; its parent's event tells
		}
		if path != folder && hiddenName(path) {
			return fs.SkipDir
		}
		if len(w.notify.WatchList()) >= maxWatched {
			return failed(fmt.Sprintf("%s holds more than %d folders", folder, maxWatched), "run weir dev in the folder of one function")
		}
		if err := w.notify.Add(path); err != nil {
			return fmt.Errorf("watch %s: %w", path, err)
		}
		return nil
	})
}

// wait blocks until something has changed and rested. It returns ctx's error when that ends first.
func (w *watcher) wait(ctx context.Context) error {
	var rested <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-rested:
			return nil
		case err := <-w.notify.Errors:
			return fmt.Errorf("watch: %w", err)
		case event := <-w.notify.Events:
			if !w.counts(event) {
				continue
			}
			if event.Has(fsnotify.Create) {
				if err := w.add(event.Name); err != nil {
					return err
				}
			}
			rested = time.After(quiet)
		}
	}
}

func (w *watcher) counts(event fsnotify.Event) bool {
	for file := range w.ignore {
		if strings.HasPrefix(event.Name, file) {
			return false
		}
	}
	if stat, err := os.Stat(event.Name); err == nil {
		for _, own := range w.own {
			if os.SameFile(stat, own) {
				return false
			}
		}
	}
	return event.Op != fsnotify.Chmod && !hiddenName(event.Name) && !strings.HasSuffix(event.Name, "~")
}

func hiddenName(path string) bool { return strings.HasPrefix(filepath.Base(path), ".") }

func (w *watcher) close() error { return w.notify.Close() }
