# pwsh -NonInteractive: what would ask is an error that says what to do, changes nothing, and waits for nobody.
BeforeDiscovery {
    Import-Module (& $PSScriptRoot/Get-TestModule.ps1)
    $asking = Get-Command -Module WandbLaunch | Where-Object {
        $_.ImplementingType.GetCustomAttributes([Management.Automation.CmdletAttribute], $true)[0].ConfirmImpact -eq 'High'
    }
    # How to have something to ask about, the call that asks, and whether it is still there. Each command that asks is here.
    $calls = @{
        'Clear-WandbLaunchCache'     = @{ Before = '$null = Start-WandbLaunch ([uri]::new("$PWD/repo").AbsoluteUri) -Resource local-process -Quiet -NoInstall'; Call = 'Clear-WandbLaunchCache'; There = '@(Get-WandbLaunchCache).Count -gt 0' }
        'Remove-WandbLaunch'         = @{ Before = '$run = Start-WandbLaunch ./train -EntryPoint "python main.py" -Resource local-process -Quiet -NoInstall'; Call = '$run | Remove-WandbLaunch'; There = '[bool](Get-WandbLaunch $run.Id)' }
        'Remove-WandbLaunchAgent'    = @{ Before = '$null = Start-WandbLaunchAgent -Name done -Queue default -StopWhenEmpty'; Call = 'Remove-WandbLaunchAgent done'; There = '[bool](Get-WandbLaunchAgent done -ErrorAction Ignore)' }
        'Remove-WandbLaunchQueueItem' = @{ Before = '$item = Add-WandbLaunchQueueItem https://github.com/me/train'; Call = '$item | Remove-WandbLaunchQueueItem'; There = '[bool](Get-WandbLaunchQueueItem default -Id $item.Id)' }
        'Remove-WandbLaunchServerUser' = @{ Before = '$null = New-WandbLaunchServerUser leaver'; Call = 'Remove-WandbLaunchServerUser leaver'; There = '@(Get-WandbLaunchServerUser).Name -contains "leaver"' }
        'Remove-WandbRunQueue'       = @{ Before = '$null = New-WandbRunQueue gone'; Call = 'Remove-WandbRunQueue gone'; There = '[bool](Get-WandbRunQueue gone)' }
        'Unregister-WandbLaunchAgent' = @{ Before = '$unit = New-Item (Register-WandbLaunchAgent -Name asked -WhatIf).Path -Force'; Call = 'Unregister-WandbLaunchAgent -Name asked'; There = 'Test-Path $unit'; Unix = $true }
    }
    $cases = $asking.Name | ForEach-Object { @{ Name = $_; Case = $calls[$_] } }
}

BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome -Connect
    $null = New-TestFolder train
    $null = New-TestRepository repo
}
AfterAll { Stop-TestHome }

Describe 'pwsh -NonInteractive' {
    It '<Name> does not ask: it is an error, and nothing is changed' -ForEach $cases {
        $Case | Should -Not -BeNullOrEmpty -Because 'each command that asks must be tried'
        if ($Case.Unix -and $IsWindows) { Set-ItResult -Skipped -Because 'its tasks are in the Task Scheduler' }
        $clock = [Diagnostics.Stopwatch]::StartNew()
        $lines = Invoke-Pwsh @"
Set-Location '$PWD'
`$null = Connect-Wandb -Local
$($Case.Before)
`$Error.Clear()
$($Case.Call) -ErrorAction SilentlyContinue
`$Error | ForEach-Object { "fault: `$((`$_.FullyQualifiedErrorId -split ',')[0]): `$_" }
"there: `$($($Case.There))"
$($Case.Call) -WhatIf
"there: `$($($Case.There))"
"@
        $clock.Elapsed.TotalSeconds | Should -BeLessThan 60
        $text = $lines -join "`n"
        $faults = @($lines -match '^fault: ')
        $faults.Count | Should -BeGreaterThan 0 -Because $text
        $faults | ForEach-Object { $_ | Should -Match '^fault: ConfirmationMissing: .*-Confirm:\$false' }
        @($lines -match '^there: True$').Count | Should -Be 2 -Because $text
        $text | Should -Match 'What if: '
    }

    It 'is the same without -NonInteractive where the input has ended, as a task or a service has it' {
        $path = Join-Path $PWD none/x.db
        $lines = Invoke-Pwsh -Answer @() @"
`$null = Connect-Wandb -Local
`$null = New-WandbRunQueue ended
`$Error.Clear()
Remove-WandbRunQueue ended -ErrorAction SilentlyContinue
try { Connect-Wandb -Local -Path '$path' } catch { }
`$Error | ForEach-Object { "fault: `$((`$_.FullyQualifiedErrorId -split ',')[0])" }
"there: `$([bool](Get-WandbRunQueue ended))"
Remove-WandbRunQueue ended -Confirm:`$false
"@
        # The console's question has no end of line.
        [regex]::Matches($lines -join "`n", '(?<=fault: )\w+').Value | Should -Be 'DatabaseNotFound', 'ConfirmationMissing' -Because ($lines -join "`n")
        $lines | Should -Contain 'there: True'
        Split-Path $path | Should -Not -Exist
    }

    It 'goes on with the next object: each is an error of its own' {
        $lines = Invoke-Pwsh @"
Set-Location '$PWD'
`$null = Connect-Wandb -Local
`$null = 'one', 'two' | New-WandbRunQueue
'one', 'two' | Remove-WandbRunQueue -ErrorAction SilentlyContinue -ErrorVariable faults
`$faults.TargetObject -join '; '
'one', 'two' | Remove-WandbRunQueue -Confirm:`$false
"left: `$(@(Get-WandbRunQueue).Name)"
"@
        $lines[0] | Should -Match 'one.*; .*two'
        $lines[-1] | Should -Not -Match '\b(one|two)\b'
    }
}
