#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes the corpus of the quickstart: English prose from two Debian/Ubuntu packages, all of it in the
# public domain, about 8 MB in 1,458 documents (a chapter each).
#
#   launch/make_corpus.sh [OUT.h5]          default: corpora/quickstart.h5
#
#   bible-kjv-text         the King James Bible: 1,189 chapters, 4.3 MB
#   r-cran-janeaustenr     six novels by Jane Austen: 269 chapters, 4.0 MB
#
# Packages are taken from the system where they are installed, else downloaded and unpacked into a
# temporary folder: nothing is installed, and root is needed only where apt has no package lists yet.
# The text stays beside the corpus (OUT/kjv.jsonl, OUT/austen.jsonl) to be looked at.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-$root/corpora/quickstart.h5}
orthant=${ORTHANT:-$root/build/bin/orthant}
text=${out%.h5}

usage() { sed -n '2,/^set -/{/SPDX/d;s/^# \{0,1\}//p}' "$0"; }
say() { echo "make_corpus: $*"; }
fail() { echo "make_corpus: error: $*" >&2; exit "${code:-69}"; }

case $#,$out in
  [01],[!-]*.h5) ;;
  *,-h | *,--help) usage; exit 0 ;;
  [01],[!-]*) code=2 fail "want a path that ends in .h5, got '$out'" ;;
  *) usage >&2; exit 2 ;;
esac
if [ -s "$out" ]; then
  say "$out is there already: nothing to do"
  exit 0
fi
[ -x "$orthant" ] || code=66 fail "no program '$orthant': build it first (or set ORTHANT)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

# refresh_lists: apt needs to know where packages are; that takes root.
refresh_lists() {
  say "refreshing apt's package lists"
  if [ "$(id -u)" = 0 ]; then
    apt-get update -qq
  elif command -v sudo > /dev/null; then
    sudo apt-get update -qq
  else
    fail "apt has no package lists, and there is neither root nor sudo to get them: run 'apt-get update' as root"
  fi
}

# fetch PACKAGE...: unpacks packages into $work/root.
fetch() {
  command -v apt-get > /dev/null ||
    fail "the text comes from Debian packages ($*), but this system has no apt-get: on a Debian or Ubuntu machine run this script and copy $out, or prepare text of your own: '$orthant prepare FILE.txt --output $out'"
  local get=(apt-get download -qq -o "APT::Sandbox::User=$(id -un)")
  say "downloading $*"
  (cd "$work" && "${get[@]}" "$@" > "$work/apt.log" 2>&1) || {
    refresh_lists
    (cd "$work" && "${get[@]}" "$@" > "$work/apt.log" 2>&1) || {
      cat "$work/apt.log" >&2
      fail "cannot download $*: is there a network, and are 'main' (Debian) or 'universe' (Ubuntu) enabled?"
    }
  }
  local deb
  for deb in "$work"/*.deb; do
    dpkg-deb -x "$deb" "$work/root"
    rm "$deb"
  done
}

bible=/usr/lib/bible.data
if [ ! -e $bible ]; then
  fetch bible-kjv-text
  bible=$work/root$bible
fi
austen=/usr/lib/R/site-library/janeaustenr/data
if [ ! -e $austen/Rdata.rdb ]; then
  fetch r-cran-janeaustenr
  austen=$work/root$austen
fi

mkdir -p "$text" 2> "$work/error" || code=73 fail "cannot make $text: $(cat "$work/error")"

# Shared by the two programs below: a file's content, and one JSON object per chapter.
shared_perl='
  sub slurp { open(my $f, "<:raw", $_[0]) or die "$_[0]: $!\n"; local $/; return scalar <$f>; }
  sub json { my $t = shift; $t =~ s/([\\"])/\\$1/g; $t =~ s/\n/\\n/g; die "control character in: $t\n" if $t =~ /[\x00-\x1f]/; return qq({"text": "$t"}\n); }'

say "writing the King James Bible to $text/kjv.jsonl"
# Behind 84 bytes of name, big-endian: the size of a block, their number, where each begins.  A block is what `compress` makes,
# which gzip inflates; the three bytes that each would begin with stand once, in front of the first.  The text is a title and
# then "Ge1:1 In the beginning ...", one verse a line.
perl -e "$shared_perl"'
  my ($file, $work) = @ARGV;
  my $data = slurp($file);
  my ($size, $blocks) = unpack("x84NN", $data);
  die "no index of blocks\n" if substr($data, 0, 4) ne "EC02" or $blocks < 1 or $blocks > 1000;
  my @begin = (unpack("x92N$blocks", $data), length $data);
  my $magic = substr($data, $begin[0] - 3, 3);
  for my $i (0 .. $blocks - 1) {
    open(my $gzip, "|-", "gzip -dc >> \"$work/kjv.txt\"") or die "gzip: $!\n";
    binmode $gzip;
    print $gzip $magic, substr($data, $begin[$i], $begin[$i + 1] - $begin[$i]);
    close $gzip or die "block $i is damaged\n";
    my ($want, $got) = ($size * ($i + 1), -s "$work/kjv.txt");
    die "block $i: want $size bytes, got $got of $want in all\n" if $got != $want and $i < $blocks - 1;
  }
' "$bible" "$work" || code=65 fail "the data of bible-kjv-text are not what was expected"
perl -e "$shared_perl"'
  my @books = split /,/, "Genesis,Exodus,Leviticus,Numbers,Deuteronomy,Joshua,Judges,Ruth,1 Samuel,2 Samuel,1 Kings,2 Kings,1 Chronicles,2 Chronicles,Ezra,Nehemiah,Esther,Job,Psalms,Proverbs,Ecclesiastes,Song of Solomon,Isaiah,Jeremiah,Lamentations,Ezekiel,Daniel,Hosea,Joel,Amos,Obadiah,Jonah,Micah,Nahum,Habakkuk,Zephaniah,Haggai,Zechariah,Malachi,Matthew,Mark,Luke,John,Acts,Romans,1 Corinthians,2 Corinthians,Galatians,Ephesians,Philippians,Colossians,1 Thessalonians,2 Thessalonians,1 Timothy,2 Timothy,Titus,Philemon,Hebrews,James,1 Peter,2 Peter,1 John,2 John,3 John,Jude,Revelation";
  my ($book, $chapter, $document, $verses) = ("", 0, "", 0);
  <STDIN>;
  while (<STDIN>) {
    /^(\w*?[A-Za-z]+)(\d+):(\d+) (.*\S)\s*$/ or die "line $. is no verse: $_";
    if ($1 ne $book or $2 != $chapter) {
      print json($document) if $document;
      shift @books if $book ne "" and $1 ne $book;
      ($book, $chapter) = ($1, $2);
      $document = "$books[0] $chapter\n\n";
    }
    $document .= "$3 $4\n";
    ++$verses;
  }
  print json($document);
  die "want 31102 verses of 66 books, got $verses\n" if $verses != 31102 or @books != 1;
' < "$work/kjv.txt" > "$work/kjv.jsonl" || code=65 fail "the text of bible-kjv-text is not what was expected"

say "writing six novels by Jane Austen to $text/austen.jsonl"
# R keeps data as zlib records (length, stream) of its serialised form; an index in Rdata.rdx says
# where.  gzip inflates a record when it is given a gzip header, and the length proves it whole.
gzip -dc < "$austen/Rdata.rdx" > "$work/index"
perl -e "$shared_perl"'
  my ($folder, $work) = @ARGV;
  my ($index, $data) = (slurp("$work/index"), slurp("$folder/Rdata.rdb"));
  my @titles = ("Emma", "Mansfield Park", "Northanger Abbey", "Persuasion", "Pride and Prejudice", "Sense and Sensibility");
  while ($index =~ /\0\0\0\x0d\0\0\0\x02(.{4})(.{4})/gs) {
    my $record = substr($data, unpack("N", $1), unpack("N", $2));
    my $title = shift @titles // die "more than six novels\n";
    open(my $gzip, "|-", "gzip -dc > \"$work/record\" 2> /dev/null") or die "gzip: $!\n";
    binmode $gzip;
    print $gzip "\x1f\x8b\x08\0\0\0\0\0\0\x03", substr($record, 6);
    close $gzip;  # complains about the missing trailer
    my $raw = slurp("$work/record");
    die "$title: damaged record\n" if length($raw) != unpack("N", $record);
    # "X\n", three version words, the name of the encoding; then a vector (type 16) of strings (type 9).
    my $at = 14 + 4 + unpack("N", substr($raw, 14, 4));
    my ($type, $count) = unpack("NN", substr($raw, $at, 8));
    die "$title: no vector of text\n" if $type != 16;
    $at += 8;
    my (@chapters, @paragraph);
    my $end_paragraph = sub {
      $chapters[-1] .= "\n" . join(" ", @paragraph) . "\n" if @paragraph and @chapters;
      @paragraph = ();
    };
    for (1 .. $count) {
      my ($flags, $length) = unpack("NN", substr($raw, $at, 8));
      die "$title: no text\n" if ($flags & 255) != 9;
      my $line = substr($raw, $at + 8, $length);
      $at += 8 + $length;
      $line =~ s/[^\x20-\x7e]/ /g;  # a pound sign and the like
      $line =~ s/\s+/ /g;
      $line =~ s/^ | $//g;
      if ($line =~ /^chapter ([ivxlc]+|\d+)\.?$/i) {
        my $number = uc $1;
        $end_paragraph->();
        push @chapters, "$title, chapter $number\n";
      } elsif ($line =~ /^(volume [ivx]+|finis|the end)\.?$/i) {
        $end_paragraph->();
      } elsif ($line eq "") {
        $end_paragraph->();
      } else {
        push @paragraph, $line;
      }
    }
    $end_paragraph->();
    die "$title: only " . @chapters . " chapters\n" if @chapters < 20;
    print json($_) for @chapters;
  }
  die "fewer than six novels: no @titles\n" if @titles;
' "$austen" "$work" > "$work/austen.jsonl" || code=65 fail "the data of r-cran-janeaustenr are not what was expected"
mv "$work/kjv.jsonl" "$work/austen.jsonl" "$text/"

say "preparing $out (byte tokens, 5 % of the chapters for validation)"
"$orthant" prepare "$text/kjv.jsonl" "$text/austen.jsonl" --output "$out" --tokenizer byte --validation-fraction 0.05
say "done: $out"
