// Package docs carries the pages of this folder in the binary, for who has nothing else: weir help prints them.
//
// It hides that they are files. Pages hold what the files held when the binary was built. It does not know Markdown.
package docs

import "embed"

// Pages are the files of this folder, by name: errors.md.
//
//go:embed *.md
var Pages embed.FS
