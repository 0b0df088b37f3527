namespace WandbLaunch.IntegrationTests;

public sealed class GitTests
{
    [Fact]
    public void A_private_repository_over_http_takes_the_given_credential_and_says_when_none_fits()
    {
        var server = Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_GIT_HTTP");
        Machine.Need(
            server is not null,
            "a git server over HTTP (tests/engines/git-http-up.sh, WANDBLAUNCH_TEST_GIT_HTTP)"
        );
        var repository = Machine.NewRepository("http");
        Machine.Git(
            repository,
            "push",
            "-q",
            "-f",
            server!.Replace("://", "://ci:s3cret@", StringComparison.Ordinal) + "/private.git",
            "main"
        );
        var commit = Machine.Git(repository, "rev-parse", "HEAD");

        var (_, _, error) = Machine.TryShell(
            $"Start-WandbLaunch '{server}/private.git' -Resource local-process -Quiet",
            ("GIT_CONFIG_NOSYSTEM", "1")
        );
        Assert.Contains("GitCredential", error, StringComparison.Ordinal);
        var output = Machine.Shell(
            $$"""
            $secret = [System.Net.NetworkCredential]::new('', 's3cret').SecurePassword
            $run = Start-WandbLaunch '{{server}}/private.git@main' -Resource local-process -GitCredential ([pscredential]::new('ci', $secret)) -Quiet -Argument 'a b', '$HOME "x"'
            "$($run.Commit) $($run.State)"
            $run | Receive-WandbLaunchLog
            # The commit is known now: no network, no login.
            $again = Start-WandbLaunch '{{server}}/private.git' -GitVersion {{commit}} -Resource local-process -Quiet
            "$($again.State) $($again.Source)"
            # A password in the address is used, and shown nowhere.
            $inside = Start-WandbLaunch '{{server!.Replace(
                "://",
                "://ci:s3cret@",
                StringComparison.Ordinal
            )}}/private.git' -Resource local-process -Quiet
            "$($inside.State) $($inside.Source)"
            """
        );
        Assert.Contains(commit + " Finished", output, StringComparison.Ordinal);
        Assert.Contains("""ran with ['a b', '$HOME "x"']""", output, StringComparison.Ordinal);
        Assert.DoesNotContain("s3cret", output, StringComparison.Ordinal);
        Assert.Equal("", Machine.Exec("grep", ["-rl", "s3cret", Path.Combine(Machine.Root, "home")]).Output);
    }

    [Fact]
    public void A_repository_over_ssh_with_a_key()
    {
        var folder = Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_GIT_SSH");
        Machine.Need(folder is not null, "sshd with a key (tests/engines/git-ssh-up.sh, WANDBLAUNCH_TEST_GIT_SSH)");
        var port = Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_GIT_SSH_PORT");
        var repository = Machine.NewRepository("ssh");
        Machine.Git(repository, "push", "-q", "-f", Path.Combine(folder!, "private.git"), "main");
        var output = Machine.Shell(
            $"(Start-WandbLaunch 'ssh://root@127.0.0.1:{port}{folder}/private.git' -Resource local-process -Quiet).Commit",
            ("GIT_SSH", Path.Combine(folder!, "ssh"))
        );
        Assert.Contains(Machine.Git(repository, "rev-parse", "HEAD"), output, StringComparison.Ordinal);
    }
}
