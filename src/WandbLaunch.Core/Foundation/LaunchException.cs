namespace WandbLaunch.Foundation;

/// <summary>What kind of fault an error is; the names are those of PowerShell's ErrorCategory.</summary>
public enum LaunchErrorCategory
{
    /// <summary>A value is not of the form that is asked for.</summary>
    InvalidArgument,

    /// <summary>Data that was read is broken.</summary>
    InvalidData,

    /// <summary>What was asked for cannot be done in this state.</summary>
    InvalidOperation,

    /// <summary>The named thing does not exist, or is not visible with this key.</summary>
    ObjectNotFound,

    /// <summary>The key is missing or wrong.</summary>
    AuthenticationError,

    /// <summary>The key, the user or the policy does not allow it.</summary>
    PermissionDenied,

    /// <summary>The server or engine cannot be reached.</summary>
    ConnectionError,

    /// <summary>A program or engine that is needed is missing.</summary>
    ResourceUnavailable,

    /// <summary>A file could not be written (no room, no right).</summary>
    WriteError,

    /// <summary>A file could not be read.</summary>
    ReadError,

    /// <summary>The time allowed is over.</summary>
    OperationTimeout,

    /// <summary>Refused because it is not safe.</summary>
    SecurityError,

    /// <summary>Something is there already.</summary>
    ResourceExists,

    /// <summary>Known to W&amp;B but not built yet, or not possible with this resource.</summary>
    NotImplemented,

    /// <summary>The user's program ended with a failure.</summary>
    OperationStopped,

    /// <summary>The server answered something that the protocol does not know.</summary>
    ProtocolError,
}

/// <summary>An error with a stable id, a category and the offending object. The message says what to do.</summary>
public sealed class LaunchException : Exception
{
    /// <summary>Makes the error.</summary>
    /// <param name="errorId">Stable id, a noun of the fault such as <c>RunNotFound</c>.</param>
    /// <param name="category">Kind of the fault.</param>
    /// <param name="message">What happened and what to do; secrets are masked here.</param>
    /// <param name="target">The offending object.</param>
    /// <param name="inner">What lies behind it.</param>
    public LaunchException(
        string errorId,
        LaunchErrorCategory category,
        string message,
        object? target = null,
        Exception? inner = null
    )
        : base(Secrets.Mask(message), inner)
    {
        ErrorId = errorId;
        Category = category;
        Target = target is string text ? Secrets.Mask(text) : target;
    }

    /// <summary>Stable id of the fault.</summary>
    public string ErrorId { get; }

    /// <summary>Kind of the fault.</summary>
    public LaunchErrorCategory Category { get; }

    /// <summary>The offending object.</summary>
    public object? Target { get; }

    internal int? StatusCode { get; init; }

    /// <summary>How long the server asks to be left alone.</summary>
    internal TimeSpan? RetryAfter { get; init; }
}
