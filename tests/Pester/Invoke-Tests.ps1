# Runs one file of tests. What became of each test is written to ResultPath for the xunit project beside this.
param(
    [Parameter(Mandatory)] [string] $Path,
    [string] $ResultPath
)

$ErrorActionPreference = 'Stop'
Import-Module "$PSScriptRoot/../../out/tools/Modules/Pester"
$name = (Split-Path $Path -Leaf) -replace '\.Tests\.ps1$'
$result = Invoke-Pester -Configuration @{
    Run    = @{ Path = $Path; PassThru = $true }
    Output = @{ Verbosity = 'Detailed'; CIFormat = 'None' }
}
if ($ResultPath) {
    $outcomes = @(
        $result.Tests | ForEach-Object {
            $outcome = if ($_.Result -in 'Passed', 'Skipped') { $_.Result } else { 'Failed' }
            @{ Name = "${name}: $($_.Block.ExpandedName): $($_.ExpandedName)"; Result = $outcome; Message = ($_.ErrorRecord | ForEach-Object { "$_`n$($_.ScriptStackTrace)" }) -join "`n" }
        }
        # A BeforeAll or AfterAll that failed, also one that found a process left behind.
        @($result.FailedBlocks) + @($result.FailedContainers) | Where-Object ErrorRecord | ForEach-Object {
            @{ Name = "${name}: $($_.ExpandedName ?? 'the file')"; Result = 'Failed'; Message = ($_.ErrorRecord | ForEach-Object { "$_`n$($_.ScriptStackTrace)`n$($_.Exception)" }) -join "`n" }
        }
    )
    ConvertTo-Json $outcomes | Set-Content $ResultPath
}
exit [Math]::Min(100, $result.FailedCount + $result.FailedBlocksCount + $result.FailedContainersCount)
