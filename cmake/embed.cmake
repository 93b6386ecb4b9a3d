# cmake -D in=FILE -D out=FILE.c -D name=NAME -P embed.cmake
# Writes FILE as the NUL-terminated array `const unsigned char NAME[]` of NAME_len bytes.
file(READ ${in} bytes HEX)
file(SIZE ${in} size)
string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${out}
    "#include <stddef.h>\n"
    "extern const unsigned char ${name}[];\nextern const size_t ${name}_len;\n"
    "const size_t ${name}_len = ${size};\nconst unsigned char ${name}[] = {\n${bytes}0};\n")
