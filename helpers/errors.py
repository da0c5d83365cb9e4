"""The root of every error that the helpers raise. In brackets stands what else an error is, to be caught as that.

::

    HelperError
        CheckFailed (AssertionError): helpers.checks
        InstallationError (RuntimeError): helpers.installation
        MaskedError: helpers.masking
            AzureCommandError: helpers.cloud.command_line
            CertificateError (ValueError): helpers.certificates.files
                _TooLargeError: helpers.certificates.files
            CredentialsError (ValueError): helpers.credentials
            FaultError: helpers.faults
            FleetError: helpers.fleet
            FormError (ValueError): helpers.views.enrollment_document
            JsonTextError (ValueError): helpers.views.json_text
            LessonError: helpers.recipes.cleanup
            NotebookError: helpers.runner.documents
            ParameterError (ValueError): helpers.checks
            SettingError (ValueError): helpers.target.settings
            SettingsFileError: helpers.cloud.settings_file
            TargetError: helpers.target.target
            TpmError: helpers.tpm.errors
                ActivationError: helpers.tpm.errors
                TpmConnectionError: helpers.tpm.errors
                TpmProtocolError: helpers.tpm.errors
                TpmResponseError: helpers.tpm.errors
                TpmUnavailableError: helpers.tpm.errors
            WorkspaceError: helpers.workspace
                NewerFormatError: helpers.workspace
        ProgressLineError (ValueError): helpers.course.line
        RefusedError: helpers.tpm.embedded.arguments
        ReportError: helpers.comparison.report
        _PassPhraseWantedError: helpers.certificates.files

What the official clients and the simulator raise goes through as it is.
"""


class HelperError(Exception):
    """Something cannot be done; the text says what is wrong and, where there is a way out, what to do."""
