# How kindred's own targets are made: one warning set, one place for sanitizers, one test helper.

add_library(kd_flags INTERFACE)
target_include_directories(kd_flags INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_definitions(kd_flags INTERFACE _GNU_SOURCE)
set(kd_warnings -Wall -Wextra -Werror -Wshadow -Wformat=2 -Wundef -Wvla -Werror=vla)
set(kd_c_warnings -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
    -Wwrite-strings)
target_compile_options(kd_flags INTERFACE ${kd_warnings}
    "$<$<COMPILE_LANGUAGE:C>:${kd_c_warnings}>" -fno-omit-frame-pointer)

# KINDRED_SANITIZE: "", "address" (with undefined behaviour and leaks), "thread", or "fuzzer" (address
# and clang's coverage, for tests/fuzz). GCC's manual says that sanitizers make some warnings err.
if(KINDRED_SANITIZE)
    target_compile_options(kd_flags INTERFACE
        "$<$<NOT:$<C_COMPILER_ID:Clang>>:-Wno-maybe-uninitialized>")
endif()
if(KINDRED_SANITIZE STREQUAL "address")
    add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined)
    add_link_options(-fsanitize=address,undefined)
elseif(KINDRED_SANITIZE STREQUAL "fuzzer")
    add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined)
    add_compile_definitions(__SANITIZE_ADDRESS__) # as gcc says it
    add_link_options(-fsanitize=address,undefined)
elseif(KINDRED_SANITIZE STREQUAL "thread")
    add_compile_options(-fsanitize=thread)
    add_link_options(-fsanitize=thread)
endif()

# kd_library(base SOURCES a.c b.c LIBS PUBLIC x PRIVATE y): lib/base becomes the target kd_base.
function(kd_library room)
    cmake_parse_arguments(arg "" "" "SOURCES;LIBS" ${ARGN})
    add_library(kd_${room} STATIC ${arg_SOURCES})
    target_link_libraries(kd_${room} PUBLIC ${arg_LIBS} PRIVATE kd_flags)
    target_include_directories(kd_${room} PUBLIC ${PROJECT_SOURCE_DIR})
    target_compile_definitions(kd_${room} PRIVATE KD_ROOM="${room}")
endfunction()

# kd_unit_test(base queue LIBS kd_base): tests/base/queue_test.c becomes the ctest base.queue.
# LABELS, TIMEOUT (seconds, 60 unless given) and another SOURCE are optional. What the label threads
# marks the target thread_tests builds: the tsan preset wants no more.
if(KINDRED_TESTS)
    add_custom_target(thread_tests)
endif()
function(kd_unit_test room name)
    cmake_parse_arguments(arg "" "TIMEOUT;SOURCE" "LIBS;LABELS" ${ARGN})
    if(NOT arg_SOURCE)
        set(arg_SOURCE ${name}_test.c)
    endif()
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 60)
    endif()
    add_executable(test_${room}_${name} ${arg_SOURCE})
    target_link_libraries(test_${room}_${name} PRIVATE kd_flags ${arg_LIBS} PkgConfig::CMOCKA)
    target_compile_definitions(test_${room}_${name} PRIVATE
        KD_SOURCE_DIR="${PROJECT_SOURCE_DIR}" KD_BINARY_DIR="${PROJECT_BINARY_DIR}")
    add_test(NAME ${room}.${name} COMMAND test_${room}_${name})
    set_tests_properties(${room}.${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}")
    if("threads" IN_LIST arg_LABELS)
        add_dependencies(thread_tests test_${room}_${name})
    endif()
endfunction()

# kd_alloc_test(base LIBS kd_base): the ctest base.alloc, whose allocations and those of our libraries
# pass through tests/support/alloc.c. WRAP names functions of shared libraries to wrap besides. With
# LIBRARIES also base.alloc_libraries, the same with every allocation of the process (not with a
# sanitizer, which has an allocator of its own).
function(kd_alloc_test room)
    cmake_parse_arguments(arg "LIBRARIES" "" "WRAP" ${ARGN})
    set(injector ${PROJECT_SOURCE_DIR}/tests/support/alloc.c)
    kd_unit_test(${room} alloc ${arg_UNPARSED_ARGUMENTS})
    target_sources(test_${room}_alloc PRIVATE ${injector})
    foreach(name malloc calloc realloc reallocarray strdup strndup vasprintf realpath
            posix_memalign free
            ${arg_WRAP})
        target_link_options(test_${room}_alloc PRIVATE LINKER:--wrap=${name})
    endforeach()
    if(arg_LIBRARIES AND NOT KINDRED_SANITIZE)
        kd_unit_test(${room} alloc_libraries SOURCE alloc_test.c ${arg_UNPARSED_ARGUMENTS})
        target_sources(test_${room}_alloc_libraries PRIVATE ${injector})
        target_compile_definitions(test_${room}_alloc_libraries PRIVATE KD_ALLOC_LIBRARIES)
    endif()
endfunction()
