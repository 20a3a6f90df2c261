# How a layer is declared:
#   lorikeet_library(io TORCH SOURCES a.cpp b.cpp DEPENDS core PNG::PNG)   -> target lorikeet_io
#   lorikeet_test(io TORCH SOURCES a_test.cpp DEPENDS io)                  -> program io_test, ctest "io_test"
# TORCH sources see <torch/torch.h> through one shared precompiled header; others never see torch.

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
    CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${CCACHE_PROGRAM})
endif()

add_library(lorikeet_flags INTERFACE)
target_include_directories(lorikeet_flags INTERFACE ${CMAKE_SOURCE_DIR}/src)
# -fPIC for programs too: the shared precompiled header is only usable where all are compiled alike.
target_compile_options(lorikeet_flags INTERFACE -Wall -Wextra -Wno-unused-parameter -fpch-preprocess -fPIC)
# g++ 12 warns of copies that std::string never makes (GCC bug 105651).
target_compile_options(lorikeet_flags INTERFACE -Wno-restrict -Wno-stringop-overflow)
if(LORIKEET_SANITIZE)
  target_compile_options(lorikeet_flags INTERFACE -fsanitize=address,undefined -fno-omit-frame-pointer)
  target_link_options(lorikeet_flags INTERFACE -fsanitize=address,undefined)
endif()

file(WRITE ${CMAKE_BINARY_DIR}/torch_pch.cpp "// Carries the precompiled torch header.\n")
add_library(lorikeet_torch_pch OBJECT ${CMAKE_BINARY_DIR}/torch_pch.cpp)
target_link_libraries(lorikeet_torch_pch PRIVATE lorikeet_torch lorikeet_flags Threads::Threads)
target_precompile_headers(lorikeet_torch_pch PRIVATE <torch/torch.h>)

function(lorikeet_declare target torch sources depends)
  set(libraries)
  foreach(name ${depends})
    if(TARGET lorikeet_${name})
      list(APPEND libraries lorikeet_${name})
    else()
      list(APPEND libraries ${name})
    endif()
  endforeach()
  target_sources(${target} PRIVATE ${sources})
  target_link_libraries(${target} PUBLIC lorikeet_flags Threads::Threads ${libraries})
  if(torch)
    target_link_libraries(${target} PUBLIC lorikeet_torch)
    target_precompile_headers(${target} REUSE_FROM lorikeet_torch_pch)
  endif()
endfunction()

function(lorikeet_library name)
  cmake_parse_arguments(ARG "TORCH" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(lorikeet_${name} STATIC)
  lorikeet_declare(lorikeet_${name} "${ARG_TORCH}" "${ARG_SOURCES}" "${ARG_DEPENDS}")
endfunction()

function(lorikeet_test name)
  if(NOT LORIKEET_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "TORCH" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name}_test)
  lorikeet_declare(${name}_test "${ARG_TORCH}" "${ARG_SOURCES}" "${ARG_DEPENDS};GTest::gtest_main")
  target_compile_definitions(${name}_test PRIVATE)
  add_test(NAME ${name}_test COMMAND ${name}_test WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
endfunction()
