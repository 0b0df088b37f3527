BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome
    $server = Start-WandbLaunchServer
    function Get-Plain($User) { $User.Key | ConvertFrom-SecureString -AsPlainText }
    function Connect-As($User) { Connect-Wandb -BaseUrl $server.Url -ApiKey $User.Key }
}
AfterAll { Stop-TestHome }

Describe 'users of the server' {
    It 'are made with a key that is shown once, and connect with it' {
        New-WandbLaunchServerUser ada -Team vision -WhatIf
        Get-WandbLaunchServerUser | Where-Object Name -EQ ada | Should -BeNullOrEmpty
        $ada = New-WandbLaunchServerUser ada -Team vision
        $ada.Key | Should -BeOfType securestring
        Get-Plain $ada | Should -Match '^local-[a-z0-9]{40}$'
        "$($ada | Format-List | Out-String)$($ada | ConvertTo-Json)" | Should -Not -Match (Get-Plain $ada)
        (Get-WandbLaunchServerUser ada).Key | Should -BeNullOrEmpty
        (Connect-As $ada).Username | Should -Be ada
        (Get-WandbConnection).Teams | Should -Contain vision
        Get-WandbLaunchServerUser | Get-View | Should -Match 'Name\s+Role\s+Teams\s+Created'
    }

    It 'come from a table, and from several servers' {
        $made = @('Name,Team,Role', 'bob,speech,ReadOnly', 'carol,vision,Admin') | ConvertFrom-Csv | New-WandbLaunchServerUser
        $made.Name | Should -Be bob, carol
        $made.Role | Should -Be ReadOnly, Admin
        $other = Start-WandbLaunchServer (Join-Path $PWD other.db)
        $other | New-WandbLaunchServerUser zoe | Select-Object -ExpandProperty Path | Should -Be $other.Path
        $server, $other | Get-WandbLaunchServerUser z* | Select-Object -ExpandProperty Name | Should -Be zoe
        Stop-WandbLaunchServer $other.Path
    }

    It 'see and change what their role and teams give them' {
        $ada = New-WandbLaunchServerUser ann -Team vision
        $null = Connect-As $ada
        $null = New-WandbRunQueue shared -Entity vision
        $null = New-WandbRunQueue own -Access Private -Entity vision
        $bob = Set-WandbLaunchServerUser bob -Team speech, vision -NewKey
        $null = Connect-As $bob
        (Get-WandbRunQueue -Entity vision).Name | Should -Be shared
        $fault = Get-Fault { New-WandbRunQueue mine -Entity vision }
        $fault.Id, $fault.Category | Should -Be AccessDenied, PermissionDenied
        Set-WandbLaunchServerUser bob -Role Member -WhatIf
        (Get-WandbLaunchServerUser bob).Role | Should -Be ReadOnly
        (Set-WandbLaunchServerUser bob -Role Member -PassThru).Role | Should -Be Member
        (New-WandbRunQueue mine -Entity vision).Name | Should -Be mine
        Set-WandbLaunchServerUser bob -Team @() | Should -BeNullOrEmpty
        (Get-WandbLaunchServerUser bob).Teams | Should -BeNullOrEmpty
        Get-WandbRunQueue -Entity vision -ErrorAction Ignore | Should -BeNullOrEmpty
    }

    It 'are gone at once when they are removed, and asked for before' {
        $dan = New-WandbLaunchServerUser dan
        $null = Connect-As $dan
        Remove-WandbLaunchServerUser dan -WhatIf
        Invoke-Pwsh "Remove-WandbLaunchServerUser dan -Confirm" -Answer n | Out-Null
        (Get-WandbLaunchServerUser dan).Name | Should -Be dan
        (Get-WandbLaunchServerUser d* | Remove-WandbLaunchServerUser -Confirm:$false -PassThru).Name | Should -Be dan
        (Get-Fault { Connect-As $dan }).Id | Should -Be ApiKeyRejected
    }

    It 'are completed' {
        Get-Completion 'Set-WandbLaunchServerUser ' | Should -Contain carol
        Get-Completion 'New-WandbLaunchServerUser x -Team ' | Should -Contain vision
    }

    It 'are refused with a reason, each alone' {
        $fault = Get-Fault { 'ada', '../x', 'eve' | New-WandbLaunchServerUser }
        $fault.Id | Should -Be UserInvalid, UserExists
        $fault.Category | Should -Be InvalidArgument, ResourceExists
        (Get-WandbLaunchServerUser eve).Name | Should -Be eve
        (Get-Fault { New-WandbLaunchServerUser vision }).Id | Should -Be UserInvalid
        (Get-Fault { Set-WandbLaunchServerUser eve -Team ada }).Id | Should -Be UserInvalid
        (Get-Fault { Set-WandbLaunchServerUser eve }).Id | Should -Be NothingToSet
        (Get-Fault { Get-WandbLaunchServerUser nobody }).Id | Should -Be UserNotFound
        (Get-Fault { Remove-WandbLaunchServerUser nobody -Confirm:$false }).Id | Should -Be UserNotFound
        (Get-Fault { Get-WandbLaunchServerUser -Path nowhere.db }).Id | Should -Be ServerNotRunning
    }
}
