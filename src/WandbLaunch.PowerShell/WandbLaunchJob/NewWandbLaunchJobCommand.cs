using System.Management.Automation;
using System.Net;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Sources;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Makes a job.</summary>
/// <remarks>Of a git URL: its commit and program. Of a folder: the code as it is now, uploaded, so that it can be queued. Of a run: its commit, uncommitted changes and packages. Of -DockerImage: the image. A job of the same content is there already: that version is given back. Logins inside git addresses stay out of jobs.</remarks>
/// <example><para>Make a folder's code queueable</para><code>Connect-Wandb -Local; New-WandbLaunchJob ./train -EntryPoint 'python train.py' -Project demo | Add-WandbLaunchQueueItem</code><para>An agent elsewhere gets the code from the server.</para></example>
/// <example><para>Of the runs that went well</para><code>Connect-Wandb -Local; Get-WandbRun -Project demo -State finished | New-WandbLaunchJob -WhatIf</code><para>Makes nothing.</para></example>
/// <example><para>Of a repository, with an alias</para><code>Connect-Wandb -Local; New-WandbLaunchJob ([uri]::new("$PWD/repo").AbsoluteUri) -EntryPoint 'python train.py' -Project demo -Alias stable</code><para>So it is with https://github.com/me/train too; the job's name is made of the address, and :stable names this version.</para></example>
[Cmdlet(VerbsCommon.New, "WandbLaunchJob", SupportsShouldProcess = true)]
[OutputType("WandbLaunch.Wandb.WandbLaunchJob")]
public sealed class NewWandbLaunchJobCommand : PipelineCommand
{
    /// <summary>A git URL (with @branch, @tag or @commit), a folder, or the address of a run.</summary>
    [Parameter(Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [Alias("Path")]
    [ValidateNotNullOrEmpty]
    public string? Uri { get; set; }

    /// <summary>Image to make a job of.</summary>
    [Parameter]
    [Alias("d")]
    public string? DockerImage { get; set; }

    /// <summary>Name of the job. Default: made of its source.</summary>
    [Parameter]
    [Alias("n")]
    [ValidateLength(1, 128)]
    public string? Name { get; set; }

    /// <summary>Project that keeps it. Default: the run's own, else the connection's.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [Alias("p")]
    [ArgumentCompleter(typeof(ProjectCompleter))]
    public string? Project { get; set; }

    /// <summary>Owner of the project. Default: the connection's entity.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [Alias("e")]
    [ArgumentCompleter(typeof(EntityCompleter))]
    public string? Entity { get; set; }

    /// <summary>Description.</summary>
    [Parameter]
    public string? Description { get; set; }

    /// <summary>Aliases beside latest.</summary>
    [Parameter]
    [Alias("a")]
    public string[] Alias { get; set; } = [];

    /// <summary>Command to run, as words or as one text: python train.py. Default: the run's program, else main.py.</summary>
    [Parameter]
    [ArgumentCompleter(typeof(EntryPointCompleter))]
    public string[]? EntryPoint { get; set; }

    /// <summary>Commit, branch or tag.</summary>
    [Parameter]
    [Alias("g")]
    [ArgumentCompleter(typeof(GitVersionCompleter))]
    public string? GitVersion { get; set; }

    /// <summary>Python version, such as 3.11. Default: the run's, of runtime.txt or .python-version.</summary>
    [Parameter]
    [Alias("Runtime", "r")]
    public string? PythonVersion { get; set; }

    /// <summary>User and token or password for the git host.</summary>
    [Parameter]
    [Credential]
    public PSCredential? GitCredential { get; set; }

    /// <summary>Connection to use. Default: the session's.</summary>
    [Parameter]
    public WandbConnection? Connection { get; set; }

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds => [nameof(WandbLaunch.Wandb.WandbRun)];

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        if (Uri is null == DockerImage is null)
        {
            throw new LaunchException(
                "SourceMissing",
                LaunchErrorCategory.InvalidArgument,
                "A job is made of one thing: give a git URL, a folder, a run's address, or -DockerImage.",
                Uri
            );
        }

        var server = await GetConnectionAsync(Connection);
        var entity = QueueCommand.NeedEntity(server, Entity);
        var project =
            Project
            ?? (Uri is not null && LaunchUri.Parse(Uri, WorkingFolder).AsRun is { } run ? run.Project : server.Project)
            ?? throw new LaunchException(
                "ProjectMissing",
                LaunchErrorCategory.InvalidArgument,
                "It is not known in which project the job goes. Give -Project, or set WANDB_PROJECT.",
                Uri
            );
        if (!await ShouldProcessAsync($"{entity}/{project}: {Uri ?? DockerImage}", "Make job"))
        {
            return;
        }

        var request = new JobRequest
        {
            Uri = Uri,
            DockerImage = DockerImage,
            Name = Name,
            Description = Description,
            Aliases = Alias,
            GitVersion = GitVersion,
            PythonVersion = PythonVersion,
            EntryPoint =
                EntryPoint is null ? null
                : EntryPoint is [var text] ? CommandLine.Split(text)
                : EntryPoint,
            GitCredential = GitCredential is null
                ? null
                : new GitCredential(
                    GitCredential.UserName,
                    Secrets.Register(new NetworkCredential("", GitCredential.Password).Password)
                ),
        };
        var scratch = Directory.CreateTempSubdirectory("wandblaunch-").FullName;
        try
        {
            var source = await JobMaker.MakeAsync(
                request,
                server,
                Context,
                WorkingFolder,
                scratch,
                new CallbackProgress(p => Progress("Making a job", p.Text, p.Percent)),
                Warn,
                Token
            );
            var (job, made) = await new JobApi(new ArtifactApi(server.Transport, server.Api)).CreateAsync(
                entity,
                project,
                source,
                Token
            );
            Verbose(made ? $"{job.Job} was made" : $"{job.Job} was there already");
            Output(job);
        }
        finally
        {
            Progress("Making a job", "", 100);
            LaunchCache.DeleteFolder(scratch);
        }
    }
}
