# cmake -D in=FILE -D out=FILE.c -D name=NAME -P embed.cmake
# Writes FILE as the NUL-terminated array `const unsigned char NAME[]`.
file(READ ${in} bytes HEX)
string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${out}
    "extern const unsigned char ${name}[];\nconst unsigned char ${name}[] = {\n${bytes}0};\n")
