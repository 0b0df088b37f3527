# The folder of the module that is tested: what was built, or what WANDBLAUNCH_TEST_MODULE names (build.ps1 TestPackage installs
# the package into out/installed). No file of tests names it by itself: two copies cannot be in one process.
$env:WANDBLAUNCH_TEST_MODULE ? (Resolve-Path $env:WANDBLAUNCH_TEST_MODULE).Path : (Resolve-Path "$PSScriptRoot/../../out/WandbLaunch").Path
