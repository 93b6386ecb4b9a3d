#!/usr/bin/env bash
# Builds FAISS with its C API and AVX2 from Debian 12's source package, the same on Debian 12 and
# 13: their binary packages are built for the oldest CPUs, and 12's has no C API library.
#
# The result lies in ${XDG_CACHE_HOME:-~/.cache}/kindred/faiss-VERSION-FLAGS: lib/, include/ and
# FLAGS, the instruction sets that its code needs. The last line printed is that folder. When it is
# there, nothing else happens. Exit status 3: the source package could not be had.
set -euo pipefail

version=1.7.3
suite=bookworm

if [ "$(uname -m)" = x86_64 ] && grep -qw avx2 /proc/cpuinfo; then
    name=avx2
    needs="avx2 fma f16c popcnt"
    flags="-O3 -mavx2 -mfma -mf16c -mpopcnt"
else
    name=generic
    needs=""
    flags="-O3"
fi
cache=${XDG_CACHE_HOME:-$HOME/.cache}/kindred
prefix=$cache/faiss-$version-$name

done_already() {
    [ -f "$prefix/FLAGS" ] || return 1
    echo "$prefix"
}
if done_already; then exit 0; fi

# One builder at a time: who comes second finds the first one's work.
mkdir -p "$cache"
exec 9>"$cache/faiss.lock"
flock 9
if done_already; then exit 0; fi

work=$(mktemp -d "$cache/faiss-build.XXXXXX")
trap 'rm -rf "$work"' EXIT

no_source() {
    echo "faiss: $1" >&2
    exit 3
}

# apt with lists, cache and sources of its own: the system's stay as they are. The archive is the
# one that the system takes its own packages from.
archive=$(apt-get indextargets --no-release-info --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' \
    'Created-By: Packages' 2>/dev/null | awk '$1 !~ /-/ && $2 == "main" { print $3; exit }') || true
[ -n "$archive" ] || no_source "apt is not configured with a Debian archive"
for keyring in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
    [ -f "$keyring" ] && break
done
[ -f "$keyring" ] || no_source "the package debian-archive-keyring is not installed"
mkdir -p "$work"/apt/{lists/partial,cache/archives/partial,parts} "$work/source"
echo "deb-src [signed-by=$keyring] $archive $suite main" >"$work/apt/sources.list"
own_apt=(apt-get -q
    -o Dir::Etc::sourcelist="$work/apt/sources.list"
    -o Dir::Etc::sourceparts="$work/apt/parts"
    -o Dir::State::lists="$work/apt/lists"
    -o Dir::Cache="$work/apt/cache"
    -o APT::Sandbox::User=
    -o APT::Update::Error-Mode=any
    -o Acquire::Retries=3)

echo "faiss: fetching the source package of faiss $version ($suite)" >&2
"${own_apt[@]}" update >"$work/apt.log" 2>&1 &&
    (cd "$work/source" && "${own_apt[@]}" source faiss) >>"$work/apt.log" 2>&1 || {
    tail -n 5 "$work/apt.log" >&2
    no_source "the source package of faiss could not be had"
}
source=$work/source/faiss-$version
[ -d "$source" ] || no_source "the archive's faiss is not version $version"

echo "faiss: building it ($flags), about two minutes on two cores" >&2
blas=$(pkg-config --variable=libdir openblas)/libopenblas.so
build() {
    # -include cstdint: gcc 14's headers no longer bring it along.
    cmake -S "$source" -B "$work/build" -DCMAKE_BUILD_TYPE=Release \
        -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib \
        -DCMAKE_CXX_FLAGS="-include cstdint" \
        -DCMAKE_CXX_FLAGS_RELEASE="$flags -DNDEBUG" -DCMAKE_C_FLAGS_RELEASE="$flags -DNDEBUG" \
        -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DBUILD_SHARED_LIBS=OFF -DBUILD_TESTING=OFF \
        -DFAISS_ENABLE_C_API=ON -DFAISS_ENABLE_GPU=OFF -DFAISS_ENABLE_PYTHON=OFF \
        -DBLAS_LIBRARIES="$blas" -DLAPACK_LIBRARIES="$blas" &&
        cmake --build "$work/build" --target faiss faiss_c --parallel "$(nproc)"
}
build >"$work/build.log" 2>&1 || {
    tail -n 30 "$work/build.log" >&2
    echo "faiss: the build failed" >&2
    exit 1
}

# Put together beside, then renamed: the folder is whole or not there.
tree=$work/tree
mkdir -p "$tree"/lib "$tree"/include/faiss/c_api
find "$work/build" -name 'libfaiss.a' -exec cp {} "$tree/lib/" \;
find "$work/build" -name 'libfaiss_c.a' -exec cp {} "$tree/lib/" \;
(cd "$source" && find faiss -name '*.h' -exec cp --parents {} "$tree/include/" \;)
(cd "$source/c_api" && find . -name '*.h' -exec cp --parents {} "$tree/include/faiss/c_api/" \;)
[ -f "$tree/lib/libfaiss.a" ] && [ -f "$tree/lib/libfaiss_c.a" ]
cp "$source/LICENSE" "$tree/"
echo "$needs" >"$tree/FLAGS"
sync -f "$tree/FLAGS"
rm -rf "$prefix"
mv "$tree" "$prefix"
echo "$prefix"
