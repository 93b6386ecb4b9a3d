# FAISS with its C API, as the target kd_faiss.
#
# KINDRED_FAISS  auto    tools/faiss.sh's build of Debian 12's source, made here when the cache is
#                        empty; the system's library when the source cannot be had
#                system  Debian 13's libfaiss-dev (Debian 12's has no C API library)
#                PREFIX  a folder with lib/ and include/, as tools/faiss.sh makes it
set(KINDRED_FAISS auto CACHE STRING "auto, system or a folder with FAISS's lib/ and include/")

set(kd_faiss_script ${PROJECT_SOURCE_DIR}/tools/faiss.sh)
if(KINDRED_FAISS STREQUAL "auto")
    message(STATUS "FAISS: tools/faiss.sh (fetches and builds it once, some minutes)")
    execute_process(COMMAND ${kd_faiss_script}
        OUTPUT_VARIABLE kd_faiss_said RESULT_VARIABLE kd_faiss_exit
        OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(kd_faiss_exit EQUAL 0)
        string(REGEX REPLACE ".*\n" "" kd_faiss_prefix "${kd_faiss_said}")
    elseif(kd_faiss_exit EQUAL 3)
        message(STATUS "FAISS: its source cannot be had, taking the system's library")
    else()
        message(FATAL_ERROR "FAISS: tools/faiss.sh failed (${kd_faiss_exit})")
    endif()
elseif(NOT KINDRED_FAISS STREQUAL "system")
    set(kd_faiss_prefix ${KINDRED_FAISS})
endif()

set(kd_faiss_place "the system's folders")
if(kd_faiss_prefix)
    set(kd_faiss_where PATHS ${kd_faiss_prefix} NO_DEFAULT_PATH)
    set(kd_faiss_place ${kd_faiss_prefix})
endif()
foreach(kd_faiss_part faiss_c faiss)
    find_library(kd_lib${kd_faiss_part} ${kd_faiss_part} ${kd_faiss_where} PATH_SUFFIXES lib NO_CACHE)
    if(NOT kd_lib${kd_faiss_part})
        message(FATAL_ERROR "FAISS: no library ${kd_faiss_part} in ${kd_faiss_place}. Debian 12's "
            "libfaiss-dev has no C API library: there FAISS must be built from source "
            "(KINDRED_FAISS=auto, with Debian's archive within reach). On Debian 13 install "
            "libfaiss-dev.")
    endif()
endforeach()
find_path(kd_faiss_include faiss/c_api/IndexFlat_c.h ${kd_faiss_where} PATH_SUFFIXES include NO_CACHE)
if(NOT kd_faiss_include)
    message(FATAL_ERROR "FAISS: no faiss/c_api/IndexFlat_c.h beside ${kd_libfaiss_c}")
endif()
message(STATUS "FAISS: ${kd_libfaiss_c}")

# OpenBLAS by name: the reference BLAS is fifteen times slower.
pkg_check_modules(OPENBLAS REQUIRED IMPORTED_TARGET GLOBAL openblas)

add_library(kd_faiss INTERFACE)
target_include_directories(kd_faiss SYSTEM INTERFACE ${kd_faiss_include})
target_link_libraries(kd_faiss INTERFACE
    ${kd_libfaiss_c} ${kd_libfaiss} PkgConfig::OPENBLAS gomp stdc++ m)
# The build names the instruction sets that its code needs; kd_vector_init looks for them.
if(kd_faiss_prefix AND EXISTS ${kd_faiss_prefix}/FLAGS)
    file(READ ${kd_faiss_prefix}/FLAGS kd_faiss_flags)
    if(kd_faiss_flags MATCHES "avx2")
        target_compile_definitions(kd_faiss INTERFACE KD_FAISS_AVX2)
    endif()
endif()
