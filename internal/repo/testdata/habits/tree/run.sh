mktemp -d /tmp/x.XXXXXX # FIXME
