package main

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

// entry is one file of an archive; its folders are made as needed.
type entry struct {
	// path has no leading slash.
	path string
	mode int64
	data []byte
}

// writeTar writes the entries in their order, each owned by root and stamped
// with the same time.
func writeTar(w io.Writer, entries []entry, when time.Time) error {
	tw := tar.NewWriter(w)
	made := map[string]bool{".": true}
	for _, e := range entries {
		for _, folder := range folders(e.path) {
			if made[folder] {
				continue
			}
			made[folder] = true
			header := &tar.Header{Typeflag: tar.TypeDir, Name: folder + "/", Mode: 0o755, ModTime: when, Format: tar.FormatPAX}
			if err := tw.WriteHeader(header); err != nil {
				return fmt.Errorf("archiving %s: %w", folder, err)
			}
		}
		header := &tar.Header{
			Typeflag: tar.TypeReg, Name: e.path, Mode: e.mode, Size: int64(len(e.data)), ModTime: when, Format: tar.FormatPAX,
		}
		if err := tw.WriteHeader(header); err != nil {
			return fmt.Errorf("archiving %s: %w", e.path, err)
		}
		if _, err := tw.Write(e.data); err != nil {
			return fmt.Errorf("archiving %s: %w", e.path, err)
		}
	}
	if err := tw.Close(); err != nil {
		return fmt.Errorf("ending archive: %w", err)
	}
	return nil
}

// writeTarGz is writeTar, compressed. gzip's header gets no name and no time.
func writeTarGz(w io.Writer, entries []entry, when time.Time) error {
	zw, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return fmt.Errorf("compressing archive: %w", err)
	}
	if err := writeTar(zw, entries, when); err != nil {
		return err
	}
	if err := zw.Close(); err != nil {
		return fmt.Errorf("compressing archive: %w", err)
	}
	return nil
}

// folders returns those that hold the path, outermost first.
func folders(of string) []string {
	var all []string
	for at := 0; ; {
		next := strings.IndexByte(of[at:], '/')
		if next < 0 {
			return all
		}
		at += next + 1
		all = append(all, path.Clean(of[:at]))
	}
}
