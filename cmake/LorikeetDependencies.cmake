# Third-party libraries. torch comes from the venv inside the tree (scripts/setup.sh), the rest from Debian.

find_package(Threads REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(ZLIB REQUIRED)
find_package(CURL REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(JPEG REQUIRED)
find_package(PNG REQUIRED)
find_package(ICU REQUIRED COMPONENTS uc)
find_package(PkgConfig REQUIRED)
pkg_check_modules(WEBP REQUIRED IMPORTED_TARGET libwebp)
pkg_check_modules(TOMLPLUSPLUS REQUIRED IMPORTED_TARGET tomlplusplus)
if(LORIKEET_TESTS)
  find_package(GTest REQUIRED)
endif()

# TorchConfig.cmake insists on the CUDA toolkit, so torch's two libraries are imported by hand. The venv is
# asked where they are: no Python version in any path.
set(LORIKEET_PYTHON ${CMAKE_SOURCE_DIR}/.venv/bin/python CACHE FILEPATH "Python of the venv that holds torch")
execute_process(
  COMMAND ${LORIKEET_PYTHON} -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
  OUTPUT_VARIABLE TORCH_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE torch_result)
if(NOT torch_result EQUAL 0)
  message(FATAL_ERROR "torch was not found by ${LORIKEET_PYTHON}: run `make setup` first")
endif()
execute_process(
  COMMAND ${LORIKEET_PYTHON} -c "import sysconfig; print(sysconfig.get_path('purelib'))"
  OUTPUT_VARIABLE SITE_PACKAGES OUTPUT_STRIP_TRAILING_WHITESPACE)

add_library(torch::c10 SHARED IMPORTED)
set_target_properties(torch::c10 PROPERTIES IMPORTED_LOCATION ${TORCH_ROOT}/lib/libc10.so)
add_library(torch::cpu SHARED IMPORTED)
set_target_properties(torch::cpu PROPERTIES IMPORTED_LOCATION ${TORCH_ROOT}/lib/libtorch_cpu.so)
add_library(lorikeet_torch INTERFACE)
target_include_directories(lorikeet_torch SYSTEM INTERFACE
  ${TORCH_ROOT}/include ${TORCH_ROOT}/include/torch/csrc/api/include)
target_link_libraries(lorikeet_torch INTERFACE torch::cpu torch::c10)
# libtorch_cpu.so itself needs libcudart and libcupti, even when no GPU is used. RUNPATH, not RPATH, so that
# LD_LIBRARY_PATH can name another torch 2.11.0.
file(GLOB_RECURSE cuda_support ${SITE_PACKAGES}/nvidia/*/lib/libcudart.so.13 ${SITE_PACKAGES}/nvidia/*/lib/libcupti.so.13)
set(support_dirs)
foreach(library ${cuda_support})
  get_filename_component(dir ${library} DIRECTORY)
  list(APPEND support_dirs ${dir})
endforeach()
list(REMOVE_DUPLICATES support_dirs)
list(JOIN support_dirs ":" support_path)
target_link_options(lorikeet_torch INTERFACE
  "-Wl,--enable-new-dtags" "-Wl,-rpath,${TORCH_ROOT}/lib:${support_path}" "-Wl,-rpath-link,${support_path}")

# Arrow reads Parquet files, in a library that the program loads when it meets one (src/io/CMakeLists.txt). PyPI's pyarrow ships
# Arrow with its headers; without it everything else is built.
option(LORIKEET_PARQUET "Build liblorikeet_parquet.so when pyarrow is there" ON)
set(LORIKEET_PARQUET_FOUND FALSE)
if(LORIKEET_PARQUET)
  execute_process(
    COMMAND ${LORIKEET_PYTHON} -c "import importlib.util as u; print(u.find_spec('pyarrow').submodule_search_locations[0])"
    OUTPUT_VARIABLE PYARROW_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE pyarrow_result ERROR_QUIET)
  file(GLOB arrow_libraries ${PYARROW_ROOT}/libarrow.so.* ${PYARROW_ROOT}/libparquet.so.*)
  list(LENGTH arrow_libraries arrow_count)
  if(pyarrow_result EQUAL 0 AND arrow_count EQUAL 2)
    set(LORIKEET_PARQUET_FOUND TRUE)
    add_library(lorikeet_arrow INTERFACE)
    target_include_directories(lorikeet_arrow SYSTEM INTERFACE ${PYARROW_ROOT}/include)
    target_link_libraries(lorikeet_arrow INTERFACE ${arrow_libraries})
    target_link_options(lorikeet_arrow INTERFACE "-Wl,--enable-new-dtags" "-Wl,-rpath,${PYARROW_ROOT}")
  else()
    message(STATUS "pyarrow was not found by ${LORIKEET_PYTHON}: Parquet data sets will not be readable")
  endif()
endif()
